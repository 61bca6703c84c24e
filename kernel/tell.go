package kernel

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// tellValue tells what a value is, in short.
func tellValue(v Value) string {
	switch v := v.(type) {
	case Field:
		if f, ok := fields[v]; ok {
			return f.text
		}
	case Masked:
		return tellValue(v.Of)
	case Shifted:
		return tellValue(v.Of)
	case Join:
		names := make([]string, len(v))
		for i, part := range v {
			names[i] = tellValue(part)
		}
		return strings.Join(names, " . ")
	case Turn:
		return "turn"
	case Lot:
		return "lot"
	case Hash:
		return "hash of " + tellValue(v.Of)
	case Lookup:
		return "what " + v.Map + " has for " + tellValue(v.Key)
	case Const:
		return "constant"
	}
	return "value"
}

// tellOctets writes octets as somebody would who knows what they are of.
func tellOctets(v Value, b []byte) string {
	switch v := v.(type) {
	case Field:
		return tellField(v, b)
	case Masked:
		return tellOctets(v.Of, b)
	case Shifted, Turn, Lot, Hash:
		return tellNumber(b)
	case Join:
		return tellJoin(v, b)
	case Lookup:
		if len(b) == 4 {
			return tellNumber(b)
		}
	}
	return "0x" + hex.EncodeToString(b)
}

func tellNumber(b []byte) string {
	if len(b) != 4 {
		return "0x" + hex.EncodeToString(b)
	}
	return strconv.FormatUint(uint64(native.Uint32(b)), 10)
}

func tellField(f Field, b []byte) string {
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
		return tellState(b)
	case CtLabel:
		if bits := showLabel(b); bits != "" {
			return bits
		}
		return "empty"
	case DestType, SourceType, CtStatus:
		return tellNumber(b)
	}
	return "0x" + hex.EncodeToString(b)
}

func tellState(b []byte) string {
	if len(b) == 4 {
		if s, ok := tellStates[native.Uint32(b)]; ok {
			return s
		}
	}
	return tellNumber(b)
}

var tellStates = map[uint32]string{
	CtInvalid: "invalid", CtEstablished: "established", CtRelated: "related", CtNew: "new", ctUntracked: "untracked",
}

// tellJoin takes the parts of a key apart, as far as their widths are known.
func tellJoin(j Join, b []byte) string {
	if len(j) == 1 {
		return tellOctets(j[0], b)
	}
	parts := make([]string, 0, len(j))
	for _, v := range j {
		n := tellWidth(v)
		if n == 0 || len(b) < padded(n) {
			return "0x" + hex.EncodeToString(b)
		}
		parts = append(parts, tellOctets(v, b[:n]))
		b = b[padded(n):]
	}
	return strings.Join(parts, " . ")
}

// tellWidth is how many octets a value has; 0: not known without its map.
func tellWidth(v Value) int {
	switch v := v.(type) {
	case Field:
		return fields[v].width
	case Masked:
		return len(v.Mask)
	case Const:
		return len(v)
	case Shifted, Turn, Lot, Hash:
		return 4
	}
	return 0
}

// Tell writes a verdict as nft does.
func Tell(s Step) string {
	switch v := s.(type) {
	case Jump:
		return "jump " + v.Chain
	case Goto:
		return "goto " + v.Chain
	}
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", s), "kernel."))
}

// String tells the limit in words.
func (l Limit) String() string {
	switch s := l.Step.(type) {
	case CountOver:
		return fmt.Sprintf("at most %d connections at once", s.Connections)
	case RateOver:
		return fmt.Sprintf("at most %d new connections a second", s.PerSecond)
	case Change:
		return fmt.Sprintf("at most %d connections at once for %s", s.Over, tellOctets(s.Key, l.Key))
	}
	return "a limit"
}

// String tells the look in words.
func (l Look) String() string {
	switch {
	case l.Found == nil:
		return l.Set + " has nothing for " + l.Text
	case l.Found.Verdict != nil:
		return fmt.Sprintf("%s has for %s: %s", l.Set, l.Text, Tell(l.Found.Verdict))
	case len(l.Found.Data) > 0:
		return fmt.Sprintf("%s has for %s: %s", l.Set, l.Text, tellNumber(l.Found.Data))
	}
	return l.Set + " has " + l.Text
}
