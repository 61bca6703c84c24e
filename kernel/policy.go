package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// entry is a rule of the routing policy database as the kernel has it. Two are
// the same if they are equal.
type entry struct {
	v6         bool
	priority   uint32
	mark, mask uint32
	from, to   netip.Prefix
	in         string
	table      uint32
	action     uint8
	odd        bool // it looks at more than we ever do
}

// Attributes of rules (linux/fib_rules.h).
const (
	fraTo       = 1
	fraFrom     = 2
	fraIn       = 3
	fraPriority = 6
	fraMark     = 10
	fraTable    = 15
	fraMask     = 16
	fraProtocol = 21

	// Attributes that every rule has, with these values if they are not used.
	fraFlow           = 11
	fraSuppressGroup  = 13
	fraSuppressPrefix = 14
	fraUnused         = 0xffffffff

	toTable        = 1  // FR_ACT_TO_TBL
	sizeofRule     = 12 // struct fib_rule_hdr
	ruleInvert     = 2  // FIB_RULE_INVERT
	ruleUnresolved = 4  // a state, not a property
)

// parseEntry reads a struct fib_rule_hdr and its attributes, and the number of
// who made it.
func parseEntry(b []byte) (e entry, protocol uint8, ok bool) {
	if len(b) < sizeofRule || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
		return e, 0, false
	}
	e = entry{v6: b[0] == unix.AF_INET6, table: uint32(b[4]), action: b[7], odd: b[3] != 0 || native.Uint32(b[8:])&ruleInvert != 0}
	masked := false
	for kind, v := range attributes(b[sizeofRule:]) {
		switch kind {
		case fraTo:
			e.to = netip.PrefixFrom(address(v), int(b[1]))
		case fraFrom:
			e.from = netip.PrefixFrom(address(v), int(b[2]))
		case fraIn:
			e.in = text(v)
		case fraPriority:
			e.priority = uint32(number(v))
		case fraMark:
			e.mark = uint32(number(v))
		case fraMask:
			e.mask, masked = uint32(number(v)), true
		case fraTable:
			e.table = uint32(number(v))
		case fraProtocol:
			protocol = uint8(number(v))
		case fraSuppressGroup, fraSuppressPrefix:
			e.odd = e.odd || number(v) != fraUnused
		default:
			e.odd = e.odd || kind != fraFlow || number(v) != 0
		}
	}
	if e.mark != 0 && !masked {
		e.mask = 0xffffffff
	}
	return e, protocol, true
}

func (r *PolicyRule) wished() entry {
	e := entry{v6: r.IPv6, priority: uint32(r.Priority), mark: r.Mark & r.Mask, mask: r.Mask, in: r.In, table: uint32(r.Table), action: toTable}
	// One for all addresses is none.
	if r.From.IsValid() && r.From.Bits() > 0 {
		e.from = r.From.Masked()
	}
	if r.To.IsValid() && r.To.Bits() > 0 {
		e.to = r.To.Masked()
	}
	return e
}

// check says what is wrong with a wish, which no kernel would take.
func (r *PolicyRule) check() error {
	switch {
	case r.Priority <= 0 || r.Table <= 0:
		return errors.New("it has no priority or no table")
	case r.From.IsValid() && r.From.Addr().Is6() != r.IPv6, r.To.IsValid() && r.To.Addr().Is6() != r.IPv6:
		return errors.New("an address is of another family")
	}
	return nil
}

// bytes writes a rule for RTM_NEWRULE and RTM_DELRULE.
func (e *entry) bytes(protocol uint8) []byte {
	b := []byte{unix.AF_INET, 0, 0, 0, unix.RT_TABLE_UNSPEC, 0, 0, e.action, 0, 0, 0, 0}
	if e.v6 {
		b[0] = unix.AF_INET6
	}
	if e.to.IsValid() {
		b[1] = byte(e.to.Bits())
		b = append(b, attribute(fraTo, e.to.Addr().AsSlice())...)
	}
	if e.from.IsValid() {
		b[2] = byte(e.from.Bits())
		b = append(b, attribute(fraFrom, e.from.Addr().AsSlice())...)
	}
	b = append(b, attribute32(fraPriority, e.priority)...)
	if e.mask != 0 {
		b = append(b, attribute32(fraMark, e.mark)...)
		b = append(b, attribute32(fraMask, e.mask)...)
	}
	if e.in != "" {
		b = append(b, attribute(fraIn, append([]byte(e.in), 0))...)
	}
	b = append(b, attribute32(fraTable, e.table)...)
	return append(b, attribute(fraProtocol, []byte{protocol})...)
}

// String is a rule as the ip program takes it, without "ip rule add".
func (r *PolicyRule) String() string {
	e := r.wished()
	return e.String()
}

func (e *entry) String() string {
	b := []string{"pref " + strconv.FormatUint(uint64(e.priority), 10)}
	if e.from.IsValid() {
		b = append(b, "from "+e.from.String())
	}
	if e.to.IsValid() {
		b = append(b, "to "+e.to.String())
	}
	if e.mask != 0 {
		b = append(b, fmt.Sprintf("fwmark %#x/%#x", e.mark, e.mask))
	}
	if e.in != "" {
		b = append(b, "iif "+e.in)
	}
	return strings.Join(append(b, "lookup "+strconv.FormatUint(uint64(e.table), 10)), " ")
}

// entries reads the rules of a protocol number.
func (n *routing) entries(protocol uint8) (list []entry, err error) {
	err = n.everyEntry(func(e entry, by uint8) {
		if by == protocol {
			list = append(list, e)
		}
	}, func() { list = nil })
	return list, err
}

// everyEntry gives each rule there is to f; again calls it before.
func (n *routing) everyEntry(f func(e entry, protocol uint8), again func()) error {
	err := n.dump(unix.RTM_GETRULE, make([]byte, sizeofRule), unix.RTM_NEWRULE, func() func([]byte) {
		again()
		return func(b []byte) {
			if e, protocol, ok := parseEntry(b); ok {
				f(e, protocol)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("reading rules: %w", err)
	}
	return nil
}

// policy makes the rules of an owner as he wishes: what is missing is added
// first, then what nobody wishes any more is removed.
func (n *routing) policy(protocol uint8, wishes []PolicyRule) (problems []string) {
	have, err := n.entries(protocol)
	if err != nil {
		return []string{err.Error()}
	}
	wished := map[entry]bool{}
	for i := range wishes {
		w := &wishes[i]
		e := w.wished()
		err := w.check()
		if err == nil && !wished[e] && !slices.Contains(have, e) {
			err = n.change(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, e.bytes(protocol))
		}
		if wished[e] = true; err != nil && !errors.Is(err, unix.EEXIST) { // one just like it, of somebody else's, is as good
			problems = append(problems, fmt.Sprintf("rule %s: %v", w, err))
		}
	}
	for i, e := range have {
		if wished[e] && !slices.Contains(have[:i], e) {
			continue
		}
		if err := n.change(unix.RTM_DELRULE, 0, e.bytes(protocol)); err != nil && !errors.Is(err, unix.ENOENT) {
			problems = append(problems, fmt.Sprintf("removing rule %s: %v", &e, err))
		}
	}
	return problems
}
