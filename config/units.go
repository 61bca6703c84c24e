package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a time with a unit, ns, us, ms, s, m or h ("500ms", "5s",
// "1m30s"), never negative.
type Duration time.Duration

// Percent is a share written "70%", 0% to 100%.
type Percent int

// Bandwidth is in bits per second, written with a decimal unit ("100Mbps").
type Bandwidth uint64

// Size is a number of bytes with a unit: B, kB, MB, GB, or KiB, MiB, GiB, which
// are 1,024 times as much each ("60000B", "4MiB").
type Size int64

// String prints the time without the zero parts of [time.Duration.String].
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes the time with its unit.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a time with a unit: ns, us, ms, s, m or h.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if v, err := strconv.ParseFloat(s, 64); err == nil && v-v == 0 { // not of NaN and Inf, which no unit helps
		return fmt.Errorf("%q has no unit; write %ss, or use ms, m, h", s, s)
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a time such as 500ms, 5s, 2m or 1h", s)
	}
	*d = Duration(v)
	return nil
}

// String prints the share with its sign.
func (p Percent) String() string { return strconv.Itoa(int(p)) + "%" }

// MarshalText writes the share with its sign.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a whole number from 0 to 100 and a percent sign.
func (p *Percent) UnmarshalText(text []byte) error {
	digits, ok := strings.CutSuffix(string(text), "%")
	v, err := strconv.ParseUint(digits, 10, 8)
	if !ok && err == nil {
		return fmt.Errorf("%q has no unit; write %s%%", text, text)
	}
	if !ok || err != nil || v > 100 {
		return fmt.Errorf("%q is not a share from 0%% to 100%%", text)
	}
	*p = Percent(v)
	return nil
}

var bandwidthUnits = []struct {
	name string
	bits Bandwidth
}{{"Tbps", 1e12}, {"Gbps", 1e9}, {"Mbps", 1e6}, {"kbps", 1e3}, {"Kbps", 1e3}, {"bps", 1}}

// String prints the largest unit that leaves a whole number.
func (b Bandwidth) String() string {
	for _, u := range bandwidthUnits {
		if b >= u.bits && b%u.bits == 0 {
			return strconv.FormatUint(uint64(b/u.bits), 10) + u.name
		}
	}
	return "0bps"
}

// MarshalText writes the bandwidth with its unit.
func (b Bandwidth) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads a number with a unit: bps, kbps, Mbps, Gbps or Tbps.
// Units of bytes are refused, because a factor of 8 must never be guessed
// (T21).
func (b *Bandwidth) UnmarshalText(text []byte) error {
	for _, u := range bandwidthUnits {
		digits, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(digits, 64)
		if bits := v * float64(u.bits); err == nil && 0 <= bits && bits <= 1e16 {
			*b = Bandwidth(bits + 0.5)
			return nil
		}
		break
	}
	return fmt.Errorf("%q is not a bandwidth such as 64kbps, 100Mbps or 1Gbps (bits, not bytes)", text)
}

var sizeUnits = []struct {
	name  string
	bytes Size
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}

// String prints the largest unit that leaves a whole number.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s >= u.bytes && s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.name
		}
	}
	return "0B"
}

// MarshalText writes the size with its unit.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a whole number with a unit.
func (s *Size) UnmarshalText(text []byte) error {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(string(text), u.name)
		if !ok {
			continue
		}
		if v, err := strconv.ParseInt(digits, 10, 64); err == nil && v >= 0 && v <= 1<<50/int64(u.bytes) {
			*s = Size(v) * u.bytes
			return nil
		}
		break
	}
	if _, err := strconv.ParseUint(string(text), 10, 64); err == nil {
		return fmt.Errorf("%q has no unit; write %sB, or use KiB, MiB, GiB", text, text)
	}
	return fmt.Errorf("%q is not a size such as 512B, 64KiB, 4MiB or 1GiB", text)
}
