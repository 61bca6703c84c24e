package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// tableHave is what we know that Linux has of a table of ours.
type tableHave struct {
	there   bool
	chains  map[string]*chainHave
	sets    map[string]*setHave
	objects map[string]uint64 // checksum by objectRef
	kinds   map[string]objectWish
}

type chainHave struct {
	sum   uint64 // of the hook; 0: none
	rules []ruleHave
}

type ruleHave struct {
	handle uint64
	sum    uint64 // 0: not ours
}

type setHave struct {
	set      Set // no more than is needed to delete elements
	sum      uint64
	elements *store

	count  uint32 // how many elements Linux says it has; 0: it does not say (before 6.16)
	unread bool   // its elements were not read: see nftadopt.go
	known  bool   // its elements are known, or can be found out

	key, data uint32 // nft's numbers of the types
	timeout   time.Duration
}

// newSetHave is a set that we have just made.
func newSetHave(s *Set) *setHave {
	return &setHave{set: *s, sum: s.sum(), known: true, elements: newStore(s.Elements.Len()), key: numberOf(s.Key), data: numberOf(s.Data), timeout: s.Timeout}
}

func noTable() *tableHave {
	return &tableHave{chains: map[string]*chainHave{}, sets: map[string]*setHave{}, objects: map[string]uint64{}, kinds: map[string]objectWish{}}
}

func nft16(kind uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | kind }

// readTable reads what Linux has of a table. Elements are read of the sets that
// are wished, and not of dynamic ones unless some of theirs are.
func readTable(s *socket, name string, wish *tableWish) (*tableHave, error) {
	for try := 1; ; try++ {
		have, err := readOnce(s, name, wish)
		if errors.Is(err, errInterrupted) && try < 10 {
			continue
		}
		if err != nil {
			err = fmt.Errorf("reading table %s: %w", name, err)
		}
		return have, err
	}
}

func readOnce(s *socket, name string, wish *tableWish) (*tableHave, error) {
	have := noTable()
	err := s.ask(nft16(unix.NFT_MSG_GETTABLE), unix.NLM_F_ACK, wireTable(name), func(uint16, []byte) { have.there = true })
	if errors.Is(err, unix.ENOENT) {
		return have, nil
	}
	if err != nil {
		return nil, err
	}
	dump := func(kind, tableAttribute uint16, f func(a map[uint16][]byte)) error {
		return s.ask(nft16(kind), unix.NLM_F_DUMP, header(name, tableAttribute).b, func(_ uint16, b []byte) {
			if a := attributesOf(b); len(b) > 0 && idOf(b[0], text(a[unix.NFTA_TABLE_NAME])) == name {
				f(a)
			}
		})
	}
	if err := dump(unix.NFT_MSG_GETCHAIN, unix.NFTA_CHAIN_TABLE, have.chain); err != nil {
		return nil, err
	}
	if err := dump(unix.NFT_MSG_GETRULE, unix.NFTA_RULE_TABLE, have.rule); err != nil {
		return nil, err
	}
	if err := dump(unix.NFT_MSG_GETOBJ, unix.NFTA_OBJ_TABLE, have.object); err != nil {
		return nil, err
	}
	if err := dump(unix.NFT_MSG_GETSET, unix.NFTA_SET_TABLE, have.set); err != nil {
		return nil, err
	}
	return have, have.readElements(s, name, wish)
}

// attributesOf gives the attributes of a message of nftables by their kind. The
// name of the table is number 1 in all of them.
func attributesOf(b []byte) map[uint16][]byte {
	all := map[uint16][]byte{}
	if len(b) >= nfgenSize {
		for kind, v := range attributes(b[nfgenSize:]) {
			all[kind] = v
		}
	}
	return all
}

func (h *tableHave) chain(a map[uint16][]byte) {
	c := &chainHave{}
	if hook, ok := a[unix.NFTA_CHAIN_HOOK]; ok {
		var point, priority uint32
		for kind, v := range attributes(hook) {
			switch kind {
			case unix.NFTA_HOOK_HOOKNUM:
				point = uint32(bigNumber(v))
			case unix.NFTA_HOOK_PRIORITY:
				priority = uint32(bigNumber(v))
			}
		}
		c.sum = hookSum(text(a[unix.NFTA_CHAIN_TYPE]), point, int32(priority))
		if bigNumber(a[unix.NFTA_CHAIN_POLICY]) != 1 {
			c.sum ^= 2 // a policy that is not ours
		}
	}
	h.chains[text(a[unix.NFTA_CHAIN_NAME])] = c
}

func (h *tableHave) rule(a map[uint16][]byte) {
	c := h.chains[text(a[unix.NFTA_RULE_CHAIN])]
	if c == nil {
		return // of a chain that came after we read them: a notification is on its way
	}
	sum, _ := markOf(a[unix.NFTA_RULE_USERDATA])
	c.rules = append(c.rules, ruleHave{bigNumber(a[unix.NFTA_RULE_HANDLE]), sum})
}

func (h *tableHave) object(a map[uint16][]byte) {
	o := objectWish{kind: uint32(bigNumber(a[unix.NFTA_OBJ_TYPE])), name: text(a[unix.NFTA_OBJ_NAME])}
	sum, _ := markOf(a[nftaObjectUser])
	h.objects[o.ref()] = sum
	h.kinds[o.ref()] = o
}

func (h *tableHave) set(a map[uint16][]byte) {
	flags := uint32(bigNumber(a[unix.NFTA_SET_FLAGS]))
	if flags&unix.NFT_SET_ANONYMOUS != 0 {
		return // belongs to a rule that is not ours
	}
	sum, _ := markOf(a[unix.NFTA_SET_USERDATA])
	name := text(a[unix.NFTA_SET_NAME])
	set := Set{Name: name, Key: typesOf(uint32(bigNumber(a[unix.NFTA_SET_KEY_TYPE]))), Interval: flags&unix.NFT_SET_INTERVAL != 0, Dynamic: flags&unix.NFT_SET_EVAL != 0}
	have := &setHave{set: set, sum: sum, elements: newStore(0)}
	have.key, have.data = uint32(bigNumber(a[unix.NFTA_SET_KEY_TYPE])), uint32(bigNumber(a[unix.NFTA_SET_DATA_TYPE]))
	have.timeout, have.count = milliseconds(a[unix.NFTA_SET_TIMEOUT]), uint32(bigNumber(a[nftaSetCount]))
	h.sets[name] = have
}

func (h *tableHave) readElements(s *socket, table string, wish *tableWish) error {
	for name, have := range h.sets {
		set := wish.sets[name]
		if set == nil || set.sum() != have.sum || set.Dynamic && set.Elements.Len() == 0 {
			continue
		}
		have.set, have.known = *set, true
		if have.unread = adoptable(set, have.count); have.unread {
			continue
		}
		if err := have.read(s, table, set); err != nil {
			return err
		}
	}
	return nil
}

// knows says whether all is known that a wish is to be compared with.
func (h *tableHave) knows(wish *tableWish) bool {
	if wish == nil {
		return true
	}
	for name, have := range h.sets {
		if set := wish.sets[name]; set != nil && !have.known && set.sum() == have.sum && (!set.Dynamic || set.Elements.Len() > 0) {
			return false
		}
	}
	return true
}

// read reads the elements, of a dynamic set those that are ours.
func (h *setHave) read(s *socket, table string, set *Set) error {
	h.unread, h.elements = false, newStore(set.Elements.Len())
	return eachElement(s, table, set, func(el Element) {
		p := pack(el)
		if set.Dynamic {
			if _, ours := set.Elements.find(p.id); !ours {
				return
			}
		}
		h.elements.add(p)
	})
}

// dumpElements reads the elements of a set.
func dumpElements(s *socket, table string, set *Set) (all []Element, err error) {
	err = eachElement(s, table, set, func(el Element) {
		el.Key, el.End, el.Data = bytes.Clone(el.Key), bytes.Clone(el.End), bytes.Clone(el.Data)
		all = append(all, el)
	})
	return all, err
}

// eachElement gives the elements of a set to f, whose octets are its own only
// until it returns.
func eachElement(s *socket, table string, set *Set, f func(el Element)) error {
	w := header(table, unix.NFTA_SET_ELEM_LIST_TABLE)
	w.text(unix.NFTA_SET_ELEM_LIST_SET, set.Name)
	var raw []rawElement
	joined := set.Interval && !set.boxes()
	err := s.ask(nft16(unix.NFT_MSG_GETSETELEM), unix.NLM_F_DUMP, w.b, func(_ uint16, b []byte) {
		if joined {
			b = bytes.Clone(b)
		}
		parseElements(b, func(el Element, end bool) {
			if joined {
				raw = append(raw, rawElement{el, end})
			} else {
				f(el.normal())
			}
		})
	})
	if joined && err == nil {
		for _, el := range joinRanges(raw) {
			f(el)
		}
	}
	return err
}

// generation asks for the number of the rule set: each transaction of anybody
// makes it another.
func generation(s *socket) (n uint32, err error) {
	err = s.ask(nft16(unix.NFT_MSG_GETGEN), unix.NLM_F_ACK, []byte{0, 0, 0, 0}, func(_ uint16, b []byte) {
		if v := attributesOf(b)[unix.NFTA_GEN_ID]; len(v) == 4 {
			n = binary.BigEndian.Uint32(v)
		}
	})
	return n, err
}
