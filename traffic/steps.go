package traffic

import (
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/portolan-lb/portolan/kernel"
)

// AnyBit goes on if a value has one of these bits.
func AnyBit(of kernel.Value, mask uint32) kernel.Step {
	return kernel.Is{Of: kernel.Masked{Of: of, Mask: kernel.Number(mask)}, Op: kernel.NotEqual, To: kernel.Number(0)}
}

// NoBit goes on if a value has none of these bits.
func NoBit(of kernel.Value, mask uint32) kernel.Step {
	return kernel.Is{Of: kernel.Masked{Of: of, Mask: kernel.Number(mask)}, Op: kernel.Equal, To: kernel.Number(0)}
}

// IsNew goes on for the first packet of a connection, and for all others of its
// original direction until the first answer.
func IsNew() kernel.Step { return AnyBit(kernel.CtState, kernel.CtNew) }

// OfProtocol goes on for packets of a protocol of IP, by its number.
func OfProtocol(number uint8) kernel.Step {
	return kernel.Is{Of: kernel.Protocol, To: []byte{number}}
}

// RateOver goes on above so many a second. A tenth of a second's worth may come
// at once: clients that are in step must not be refused for it.
func RateOver(perSecond int) kernel.Step {
	return kernel.RateOver{PerSecond: uint64(perSecond), Burst: Burst(perSecond)}
}

// Burst is how many may come at once where so many a second may.
func Burst(perSecond int) uint32 { return uint32(max(perSecond/10, 5)) }

// CountedMost is up to how many connections the kernel counts itself: what it
// costs grows with them (2 ms a new connection at 10,000). Larger limits are the
// tick's, or counted in parts: see [Divided].
const CountedMost = 2000

// InKernel says whether the kernel counts for a limit.
func InKernel(most int) bool { return 0 < most && most <= CountedMost }

// Divided gives in how many parts a large bound is counted, and the bound of
// each: together never more than the bound, and each small enough for the kernel.
func Divided(bound int) (parts, most int) {
	const each = 1000
	parts = max(1, (bound+each-1)/each)
	return parts, bound / parts
}

// Distinct leaves the first element of each key.
func Distinct(list []kernel.Element) (out []kernel.Element) {
	seen := map[string]bool{}
	for _, el := range list {
		if !seen[string(el.Key)] {
			seen[string(el.Key)] = true
			out = append(out, el)
		}
	}
	return out
}

// Word gives a name of the configuration as nftables takes it in names of its
// own: as it is if it has nothing but letters of ASCII, digits, dots, dashes and
// underscores, else a hash of it. Underscores are doubled: single ones stand
// between the parts of a name, and "a_b" of "c" is not "a" of "b_c".
func Word(name string) string {
	if strings.IndexFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	}) < 0 {
		return strings.ReplaceAll(name, "_", "__")
	}
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	return fmt.Sprintf("x%016x", h.Sum64())
}
