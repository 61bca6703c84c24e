package kernel

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// format writes octets of some type.
type format func(b []byte) string

func showAddr(b []byte) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return showOctets(b)
	}
	return a.String()
}

func showOctets(b []byte) string { return "0x" + hex.EncodeToString(b) }

func showPort(b []byte) string {
	if len(b) != 2 {
		return showOctets(b)
	}
	return strconv.Itoa(int(binary.BigEndian.Uint16(b)))
}

// showLabel tells the bits of a label that are set, as nft numbers them on a
// machine that has the least octet first.
func showLabel(b []byte) string {
	var bits []string
	for i := range 8 * len(b) {
		if b[i/8]>>(i%8)&1 != 0 {
			bits = append(bits, strconv.Itoa(i))
		}
	}
	return strings.Join(bits, ",")
}

func showNumber(b []byte) string {
	if len(b) != 4 {
		return showOctets(b)
	}
	return fmt.Sprintf("0x%x", native.Uint32(b))
}

// showPriority writes a priority as nft does, in two halves as a class of tc.
func showPriority(b []byte) string {
	if len(b) != 4 {
		return showOctets(b)
	}
	n := native.Uint32(b)
	switch n {
	case 0:
		return "none"
	case ^uint32(0):
		return "root"
	}
	return fmt.Sprintf("%x:%x", n>>16, n&0xffff)
}

func showName(b []byte) string { return strconv.Quote(text(b)) }

func showEther(b []byte) string { return net.HardwareAddr(b).String() }

// oneOf writes one octet by a word if there is one.
func oneOf(words map[byte]string) format {
	return func(b []byte) string {
		if len(b) != 1 {
			return showOctets(b)
		}
		if w, ok := words[b[0]]; ok {
			return w
		}
		return strconv.Itoa(int(b[0]))
	}
}

var (
	showProtocol  = oneOf(map[byte]string{1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 50: "esp", 51: "ah", 58: "ipv6-icmp", 132: "sctp", 136: "udplite"})
	showFamily    = oneOf(map[byte]string{family4: "ipv4", family6: "ipv6"})
	showDirection = oneOf(map[byte]string{0: "original", 1: "reply"})
	showCount     = func(b []byte) string { return strconv.Itoa(int(bigNumber(b))) }
	showFlags     = func(b []byte) string { return "0x" + hex.EncodeToString(b) }
	showAddrType  = wordOf(map[uint32]string{AddrUnicast: "unicast", AddrLocal: "local", AddrBroadcast: "broadcast", AddrMulticast: "multicast"})
	showState     = bitsOf([]string{"invalid", "established", "related", "new", "", "", "untracked"})
	showStatus    = bitsOf([]string{"expected", "seen-reply", "assured", "confirmed", "snat", "dnat"})
)

func showLinkType(b []byte) string {
	if len(b) == 2 && native.Uint16(b) == arphrdEther {
		return "ether"
	}
	return showOctets(b)
}

func wordOf(words map[uint32]string) format {
	return func(b []byte) string {
		if len(b) == 4 {
			if w, ok := words[native.Uint32(b)]; ok {
				return w
			}
		}
		return showNumber(b)
	}
}

// bitsOf writes a number by the words of its bits if it has no others.
func bitsOf(words []string) format {
	return func(b []byte) string {
		if len(b) != 4 || native.Uint32(b) == 0 || native.Uint32(b)>>len(words) != 0 {
			return showNumber(b)
		}
		var set []string
		for i, w := range words {
			if native.Uint32(b)>>i&1 != 0 {
				set = append(set, w)
			}
		}
		return strings.Join(set, ",")
	}
}

// showOf gives how constants beside a value are written.
func showOf(v Value, sets map[string]*Set) format {
	switch v := v.(type) {
	case Field:
		if f, ok := fields[v]; ok {
			return f.show
		}
	case Masked:
		return showOf(v.Of, sets)
	case Shifted, Turn, Lot, Hash:
		return showNumber
	case Lookup:
		if s := sets[v.Map]; s != nil {
			return func(b []byte) string { return keyText(s.Data, b) }
		}
		return showNumber
	case Join:
		return func(b []byte) string { return joinText(v, b, sets) }
	}
	return showOctets
}

// joinText writes the octets beside a concatenation, part by part.
func joinText(v Join, b []byte, sets map[string]*Set) string {
	var parts []string
	for _, p := range v {
		width := 4
		switch p := p.(type) {
		case Field:
			width = fields[p].width
		case Masked:
			width = len(p.Mask)
		case Const:
			width = len(p)
		}
		if width > len(b) {
			return showOctets(b)
		}
		parts = append(parts, showOf(p, sets)(b[:width]))
		b = b[min(padded(width), len(b)):]
	}
	return strings.Join(parts, " . ")
}

// showDuration writes a time as nft does: 1d2h3m4s5ms.
func showDuration(d time.Duration) string {
	var b strings.Builder
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if n := d / u.unit; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.unit
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// rangeText writes a range, as a prefix if it is one of addresses; of a key of
// several parts, part by part.
func rangeText(list []Type, from, to []byte) string {
	if len(list) > 1 && len(from) == widthOf(list) && len(from) == len(to) {
		var parts []string
		for i, t := range list {
			n := types[t].width
			part := keyText(list[i:i+1], from[:n])
			if !bytes.Equal(from[:n], to[:n]) {
				part = rangeText(list[i:i+1], from[:n], to[:n])
			}
			parts = append(parts, part)
			from, to = from[min(padded(n), len(from)):], to[min(padded(n), len(to)):]
		}
		return strings.Join(parts, " . ")
	}
	mask := make([]byte, len(from))
	for i := range mask {
		if i < len(to) {
			mask[i] = ^(from[i] ^ to[i])
		}
	}
	whole := func(b []byte, want func(m byte) byte) bool {
		got := make([]byte, len(b))
		for i := range got {
			got[i] = b[i] &^ mask[i]
			if got[i] != want(mask[i]) {
				return false
			}
		}
		return true
	}
	bits, ok := prefixLength(mask)
	address := len(list) == 1 && (list[0] == TypeAddr4 || list[0] == TypeAddr6)
	if ok && address && len(from) == len(to) && !bytes.Equal(from, to) && whole(from, func(byte) byte { return 0 }) && whole(to, func(m byte) byte { return ^m }) {
		return fmt.Sprintf("%s/%d", keyText(list, from), bits)
	}
	return keyText(list, from) + "-" + keyText(list, to)
}
