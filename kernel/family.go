package kernel

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// tableFamilies are the families that tables of ours may have, by the kernel's
// number (NFPROTO_...).
var tableFamilies = [...]byte{Inet: familyInet, IPv4: unix.NFPROTO_IPV4, IPv6: unix.NFPROTO_IPV6}

// familyAndName takes a table's [Table.ID] apart.
func familyAndName(id string) (family byte, name string) {
	for f, number := range tableFamilies {
		if rest, ok := strings.CutPrefix(id, TableFamily(f).String()+" "); ok {
			return number, rest
		}
	}
	return familyInet, id
}

// idOf is the other way round; "" of a family that is none of ours, and of a
// name with a space in it, which nft would not take.
func idOf(family byte, name string) string {
	f := slices.Index(tableFamilies[:], family)
	if f < 0 || strings.Contains(name, " ") {
		return ""
	}
	t := Table{Name: name, Family: TableFamily(f)}
	return t.ID()
}

// longID is a table as nft calls it, family inet too.
func longID(id string) string {
	if family, name := familyAndName(id); family == familyInet {
		return Inet.String() + " " + name
	}
	return id
}

// belongs says whether a table, by its ID, is one of an owner's: that of
// [TableOf], or one of any family whose name goes on after it with an underscore.
func belongs(id, owner string) bool {
	_, name := familyAndName(id)
	rest, ok := strings.CutPrefix(name, TableOf(owner))
	return ok && (id == TableOf(owner) || strings.HasPrefix(rest, "_"))
}

// sees says whether packets of a family (NFPROTO_...) come to the table.
func (t *Table) sees(family byte) bool {
	return t.Family == Inet || tableFamilies[t.Family] == family
}

// checkSteps says what of a rule makes no sense in a table of this family. What
// it looks at of the other family is found by [lowerIn].
func (f TableFamily) checkSteps(steps []Step) error {
	for _, s := range steps {
		switch s := s.(type) {
		case Dup:
			if f == Inet {
				return fmt.Errorf("copies are sent by tables of family ip and ip6 alone")
			}
		case Reject:
			if f != Inet && s.With != TCPReset {
				return fmt.Errorf("in a table of family %s there is no answer but a TCP reset", f)
			}
		}
	}
	return nil
}

// checkHook says whether the steps of a chain come too late for its hook.
func (c *Chain) checkHook(steps []Step) error {
	for _, s := range steps {
		if _, is := s.(NoTrack); is && c.Hook != nil && !c.Hook.untracked() {
			return fmt.Errorf("connections are tracked before it: hook %s, priority %d", c.Hook.Point, c.Hook.Priority)
		}
	}
	return nil
}

// conntrackPriority is where connections begin to be tracked
// (NF_IP_PRI_CONNTRACK), at the hooks prerouting and output.
const conntrackPriority = -200

// untracked says whether packets come to the hook before they are tracked.
func (h *Hook) untracked() bool {
	return h.Priority < conntrackPriority && (h.Point == "prerouting" || h.Point == "output")
}

// Attributes of the expression dup (nf_tables.h).
const nftaDupRegAddr = 1

// dup sends a copy. The priority is zeroed as [DNAT] does: the copy has it too.
func (e *encoder) dup(s Dup) error {
	width, err := e.load(s.To, 0)
	if err == nil && width != len(anyOf(s.IPv6)) {
		err = fmt.Errorf("it goes to an address of %d octets, this has %d", len(anyOf(s.IPv6)), width)
	}
	if err != nil {
		return err
	}
	w, zero := &e.w, len(anyOf(true))/4
	e.constant(Number(0), zero)
	w.expr("meta", func() {
		w.u32(unix.NFTA_META_KEY, unix.NFT_META_PRIORITY)
		w.u32(unix.NFTA_META_SREG, reg(zero))
	})
	w.expr("dup", func() { w.u32(nftaDupRegAddr, reg(0)) })
	return nil
}

// anyOf gives the octets of the address 0.0.0.0 or ::.
func anyOf(v6 bool) []byte {
	if v6 {
		return make([]byte, 16)
	}
	return make([]byte, 4)
}
