package kernel

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
)

// opTexts are the comparisons; equal is left out where nft does so.
var opTexts = [...]string{Equal: "", NotEqual: "!= ", Less: "< ", Greater: "> ", AtMost: "<= ", AtLeast: ">= "}

func stepText(s Step, sets map[string]*Set) string {
	switch s := s.(type) {
	case Is:
		return isText(s, sets)
	case Within:
		show := showOf(s.Of, sets)
		return fmt.Sprintf("%s %s-%s", valueText(s.Of), show(s.From), show(s.To))
	case In:
		if s.Not {
			return valueText(s.Key) + " != @" + s.Set
		}
		return valueText(s.Key) + " @" + s.Set
	case Choose:
		return valueText(s.Key) + " vmap @" + s.Map
	case SetMark:
		return setMarkText("meta mark", s.Mask, s.Bits)
	case SetCtMark:
		return setMarkText("ct mark", s.Mask, s.Bits)
	case SetCtLabel:
		return "ct label set " + strings.ReplaceAll(showLabel(s.Bits), ",", " | ")
	case CopyMark:
		return "meta mark set " + valueText(s.From)
	case CopyCtMark:
		return "ct mark set " + valueText(s.From)
	case SetPriority:
		if c, ok := s.From.(Const); ok {
			return "meta priority set " + showPriority(c)
		}
		return "meta priority set " + valueText(s.From)
	case Change:
		return changeText(s, sets)
	case CountOver:
		return fmt.Sprintf("ct count over %d", s.Connections)
	case RateOver:
		return (&Rate{PerSecond: s.PerSecond, Burst: s.Burst}).text()
	case Count:
		return fmt.Sprintf("counter name %q", s.Name)
	case Assist:
		return fmt.Sprintf("ct helper set %q", s.Helper)
	}
	return endText(s)
}

// endText writes the steps that end a rule, and those without values.
func endText(s Step) string {
	switch s := s.(type) {
	case Jump:
		return "jump " + s.Chain
	case Goto:
		return "goto " + s.Chain
	case Accept:
		return "accept"
	case Drop:
		return "drop"
	case Return:
		return "return"
	case Reject:
		return [...]string{AdminProhibited: "reject with icmpx type admin-prohibited", TCPReset: "reject with tcp reset", HostUnreachable: "reject with icmpx type host-unreachable", PortUnreachable: "reject with icmpx type port-unreachable"}[s.With]
	case TProxy:
		return fmt.Sprintf("tproxy %s to :%d", familyText(s.IPv6), s.Port)
	case Masquerade:
		return "masquerade"
	case Dup:
		return "meta priority set none dup to " + valueText(s.To)
	case NoTrack:
		return "notrack"
	case SNAT:
		text := fmt.Sprintf("snat %s to %s", familyText(s.From.Unmap().Is6()), s.From.Unmap())
		if s.To.IsValid() && s.To != s.From {
			text += "-" + s.To.Unmap().String() + " persistent"
		}
		return text
	case SNATTo:
		return fmt.Sprintf("snat %s to %s persistent", familyText(s.IPv6), valueText(s.To))
	case DNAT: // nft has no words for the priority in the middle of it
		return fmt.Sprintf("dnat %s to %s", familyText(s.IPv6), valueText(s.To))
	case SetTOS:
		return fmt.Sprintf("%s dscp set 0x%02x", familyText(s.IPv6), s.TOS>>2)
	}
	return fmt.Sprintf("# %T", s)
}

func familyText(v6 bool) string {
	if v6 {
		return "ip6"
	}
	return "ip"
}

func setMarkText(mark string, mask, bits uint32) string {
	if mask == ^uint32(0) {
		return fmt.Sprintf("%s set 0x%x", mark, bits)
	}
	if bits == 0 {
		return fmt.Sprintf("%s set %s & 0x%08x", mark, mark, ^mask)
	}
	return fmt.Sprintf("%s set %s & 0x%08x | 0x%x", mark, mark, ^mask, bits)
}

func changeText(s Change, sets map[string]*Set) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s @%s { %s", [...]string{Put: "update", Add: "add", Remove: "delete"}[s.How], s.Set, valueText(s.Key))
	if s.Timeout > 0 && s.How != Remove {
		fmt.Fprintf(&b, " timeout %s", showDuration(s.Timeout))
	}
	if s.Over > 0 {
		fmt.Fprintf(&b, " ct count over %d", s.Over)
	}
	switch set := sets[s.Set]; {
	case set == nil || len(set.Data) == 0:
	case s.Data == nil:
		fmt.Fprintf(&b, " : %s", keyText(set.Data, make([]byte, widthOf(set.Data))))
	default:
		if c, ok := s.Data.(Const); ok {
			fmt.Fprintf(&b, " : %s", keyText(set.Data, c))
		} else {
			fmt.Fprintf(&b, " : %s", valueText(s.Data))
		}
	}
	b.WriteString(" }")
	return b.String()
}

// isText writes a comparison, shorter where nft has a word for it.
func isText(s Is, sets map[string]*Set) string {
	show := showOf(s.Of, sets)
	if m, ok := s.Of.(Masked); ok {
		f, isField := m.Of.(Field)
		if f == CtLabel {
			return labelText(m.Mask, s)
		}
		if bits, ok := prefixLength(m.Mask); ok && isField && (f >= Source4 && f <= Dest6) && s.Op <= NotEqual {
			return fmt.Sprintf("%s %s%s/%d", fields[f].text, opTexts[s.Op], show(s.To), bits)
		}
		if isField && (f == CtState || f == CtStatus) && s.Op == NotEqual && bytes.Equal(s.To, make([]byte, 4)) {
			return fields[f].text + " " + show(m.Mask)
		}
		op := opTexts[s.Op]
		if s.Op == Equal {
			op = "== "
		}
		return valueText(s.Of) + " " + op + show(s.To)
	}
	return valueText(s.Of) + " " + opTexts[s.Op] + show(s.To)
}

// labelText writes a comparison of some bits of a label, for which nft has words
// of its own: a number is a bit.
func labelText(mask []byte, s Is) string {
	if bytes.Equal(s.To, make([]byte, len(mask))) {
		return "ct label " + map[Op]string{Equal: "! "}[s.Op] + showLabel(mask)
	}
	bits := func(b []byte) string { return "(" + strings.ReplaceAll(showLabel(b), ",", " | ") + ")" }
	return "ct label & " + bits(mask) + map[Op]string{Equal: " == ", NotEqual: " != "}[s.Op] + bits(s.To)
}

// prefixLength gives the length of a mask of ones followed by zeroes.
func prefixLength(mask []byte) (n int, ok bool) {
	for n < 8*len(mask) && mask[n/8]&(0x80>>(n%8)) != 0 {
		n++
	}
	for i := n; i < 8*len(mask); i++ {
		if mask[i/8]&(0x80>>(i%8)) != 0 {
			return 0, false
		}
	}
	return n, true
}

func valueText(v Value) string {
	switch v := v.(type) {
	case Field:
		return fields[v].text
	case Masked:
		return valueText(v.Of) + " & " + showOf(v.Of, nil)(v.Mask)
	case Shifted:
		return fmt.Sprintf("%s >> %d", valueText(v.Of), v.Bits)
	case Join:
		var parts []string
		for _, p := range v {
			parts = append(parts, valueText(p))
		}
		return strings.Join(parts, " . ")
	case Turn:
		return fmt.Sprintf("numgen inc mod %d", v.Of)
	case Lot:
		return fmt.Sprintf("numgen random mod %d", v.Of)
	case Hash:
		return fmt.Sprintf("jhash %s mod %d seed 0x%x", valueText(v.Of), v.Mod, v.Seed)
	case Lookup:
		return valueText(v.Key) + " map @" + v.Map
	case Const:
		if len(v) == 4 {
			return showNumber(v)
		}
		return "0x" + hex.EncodeToString(v)
	}
	return fmt.Sprintf("# %T", v)
}
