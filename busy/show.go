package busy

import (
	"math"
	"strconv"
)

// Show prints bits a second with three digits: "812Mbps", "1.24Gbps".
func Show(bits float64) string {
	units := []string{"bps", "kbps", "Mbps", "Gbps", "Tbps"}
	unit := 0
	for ; bits >= 999.5 && unit < len(units)-1; unit++ {
		bits /= 1000
	}
	if unit == 0 {
		bits = math.Round(bits)
	}
	return strconv.FormatFloat(bits, 'g', 3, 64) + units[unit]
}
