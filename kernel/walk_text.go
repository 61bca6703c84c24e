package kernel

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// fieldNames are what nft calls the fields.
var fieldNames = [...]string{
	Source4: "ip saddr", Dest4: "ip daddr", Source6: "ip6 saddr", Dest6: "ip6 daddr",
	SourcePort: "th sport", DestPort: "th dport", EtherSource: "ether saddr",
	Protocol: "meta l4proto", Family: "meta nfproto", InName: "iifname", OutName: "oifname",
	Mark: "meta mark", CtMark: "ct mark", CtState: "ct state", CtDirection: "ct direction",
	CtStatus: "ct status", DestType: "fib daddr type", SourceType: "fib saddr type", TCPFlags: "tcp flags",
}

// nameOf tells what a value is, in short.
func nameOf(v Value) string {
	switch v := v.(type) {
	case Field:
		if int(v) < len(fieldNames) {
			return fieldNames[v]
		}
	case Masked:
		return nameOf(v.Of)
	case Shifted:
		return nameOf(v.Of)
	case Join:
		names := make([]string, len(v))
		for i, part := range v {
			names[i] = nameOf(part)
		}
		return strings.Join(names, " . ")
	case Turn:
		return "turn"
	case Lot:
		return "lot"
	case Hash:
		return "hash of " + nameOf(v.Of)
	case Lookup:
		return "what " + v.Map + " has for " + nameOf(v.Key)
	case Const:
		return "constant"
	}
	return "value"
}

// show writes octets as somebody would who knows what they are of.
func show(v Value, b []byte) string {
	switch v := v.(type) {
	case Field:
		return showField(v, b)
	case Masked:
		return show(v.Of, b)
	case Shifted, Turn, Lot, Hash:
		return showNumber(b)
	case Join:
		return showJoin(v, b)
	case Lookup:
		if len(b) == 4 {
			return showNumber(b)
		}
	}
	return "0x" + hex.EncodeToString(b)
}

func showNumber(b []byte) string {
	if len(b) != 4 {
		return "0x" + hex.EncodeToString(b)
	}
	return strconv.FormatUint(uint64(native.Uint32(b)), 10)
}

func showField(f Field, b []byte) string {
	switch f {
	case Source4, Dest4, Source6, Dest6:
		if a, ok := netip.AddrFromSlice(b); ok {
			return a.String()
		}
	case SourcePort, DestPort:
		if len(b) == 2 {
			return strconv.Itoa(int(b[0])<<8 | int(b[1]))
		}
	case EtherSource:
		return net.HardwareAddr(b).String()
	case Protocol:
		if len(b) == 1 {
			return ProtocolName(b[0])
		}
	case InName, OutName:
		return strconv.Quote(strings.TrimRight(string(b), "\x00"))
	case Mark, CtMark:
		if len(b) == 4 {
			return fmt.Sprintf("0x%x", native.Uint32(b))
		}
	case CtState:
		return showState(b)
	case DestType, SourceType, CtStatus:
		return showNumber(b)
	}
	return "0x" + hex.EncodeToString(b)
}

func showState(b []byte) string {
	if len(b) == 4 {
		if s, ok := stateNames[native.Uint32(b)]; ok {
			return s
		}
	}
	return showNumber(b)
}

var stateNames = map[uint32]string{
	CtInvalid: "invalid", CtEstablished: "established", CtRelated: "related", CtNew: "new", ctUntracked: "untracked",
}

// showJoin takes the parts of a key apart, as far as their widths are known.
func showJoin(j Join, b []byte) string {
	if len(j) == 1 {
		return show(j[0], b)
	}
	parts := make([]string, 0, len(j))
	for _, v := range j {
		n := widthOfValue(v)
		padded := (n + 3) &^ 3
		if n == 0 || len(b) < padded {
			return "0x" + hex.EncodeToString(b)
		}
		parts = append(parts, show(v, b[:n]))
		b = b[padded:]
	}
	return strings.Join(parts, " . ")
}

// widthOfValue is how many octets a value has; 0: not known without its map.
func widthOfValue(v Value) int {
	switch v := v.(type) {
	case Field:
		switch v {
		case Source6, Dest6, InName, OutName:
			return 16
		case SourcePort, DestPort:
			return 2
		case EtherSource:
			return 6
		case Protocol, Family, CtDirection, TCPFlags:
			return 1
		}
		return 4
	case Masked:
		return len(v.Mask)
	case Const:
		return len(v)
	case Shifted, Turn, Lot, Hash:
		return 4
	}
	return 0
}

func verdictText(s Step) string {
	switch v := s.(type) {
	case Jump:
		return "jump " + v.Chain
	case Goto:
		return "goto " + v.Chain
	}
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", s), "kernel."))
}

func limitText(s Step, at Place) string {
	switch v := s.(type) {
	case CountOver:
		return fmt.Sprintf("chain %s: at most %d connections", at.Chain, v.Connections)
	case RateOver:
		return fmt.Sprintf("chain %s: at most %d new connections a second", at.Chain, v.PerSecond)
	case Change:
		return fmt.Sprintf("chain %s: at most %d connections of one key of %s", at.Chain, v.Over, v.Set)
	}
	return ""
}
