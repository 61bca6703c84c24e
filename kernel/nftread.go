package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Elements gives the elements of a set or map as they are in Linux now, those
// that packets put there too, with the time they have left. It is for dynamic
// maps above all; one of 50,000 takes some 50 ms.
func (n *nft) Elements(table, set string) ([]Element, error) {
	for try := 1; ; try++ {
		list, err := n.elements(table, set)
		if errors.Is(err, errInterrupted) && try < 10 {
			continue
		}
		if err != nil {
			err = fmt.Errorf("set %s of table %s: %w", set, table, err)
		}
		return list, err
	}
}

func (n *nft) elements(table, name string) ([]Element, error) {
	have := noTable()
	question := wireName(table, unix.NFTA_SET_TABLE, unix.NFTA_SET_NAME, name)
	err := n.asks.ask(nft16(unix.NFT_MSG_GETSET), unix.NLM_F_ACK, question, func(_ uint16, b []byte) { have.set(attributesOf(b)) })
	if err != nil {
		return nil, err
	}
	if have.sets[name] == nil {
		return nil, unix.ENOENT
	}
	return dumpElements(n.asks, table, &have.sets[name].set)
}

// Element gives the element of a key as it is in Linux now; found is false if
// there is none. It asks for that one alone.
func (n *nft) Element(table, set string, key []byte) (el Element, found bool, err error) {
	question := wireElements(table, &Set{Name: set}, []Element{{Key: key}}, true)
	err = n.asks.ask(nft16(unix.NFT_MSG_GETSETELEM), unix.NLM_F_ACK, question, func(_ uint16, b []byte) {
		parseElements(b, func(got Element, _ bool) { el, found = got, true })
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return Element{}, false, n.setThere(table, set)
	case err != nil:
		return Element{}, false, fmt.Errorf("set %s of table %s: %w", set, table, err)
	}
	return el, found, nil
}

// Delete removes elements of a dynamic set by their keys. It is no error if
// there are none: they may have expired just now.
func (n *nft) Delete(table, set string, keys ...[]byte) error {
	if err := checkName(table); err != nil {
		return err
	}
	s := &Set{Name: set}
	ops := make([]*op, 0, len(keys))
	for _, key := range keys {
		ops = append(ops, &op{kind: unix.NFT_MSG_DELSETELEM, body: wireElements(table, s, []Element{{Key: key}}, true), tell: tell("delete from set %s: %x", set, key)})
	}
	for len(ops) > 0 {
		bad, err := transact(n.changes, ops[:min(len(ops), deletesMost)], n.fail)
		if err != nil {
			return fmt.Errorf("set %s of table %s: %w", set, table, err)
		}
		if len(bad) == 0 {
			ops = ops[min(len(ops), deletesMost):]
			continue
		}
		gone := map[*op]bool{}
		for _, b := range bad {
			if !errors.Is(b, unix.ENOENT) {
				return fmt.Errorf("set %s of table %s: %w", set, table, b)
			}
			gone[b.op] = true
		}
		if ops, err = without(ops, gone), n.setThere(table, set); err != nil {
			return err
		}
	}
	return nil
}

// deletesMost is how many elements one transaction deletes, one in a message, so
// that the kernel says which are not there.
const deletesMost = 10000

func without(ops []*op, gone map[*op]bool) (rest []*op) {
	for _, o := range ops {
		if !gone[o] {
			rest = append(rest, o)
		}
	}
	return rest
}

// setThere tells a missing set from a missing element.
func (n *nft) setThere(table, set string) error {
	err := n.asks.ask(nft16(unix.NFT_MSG_GETSET), unix.NLM_F_ACK, wireName(table, unix.NFTA_SET_TABLE, unix.NFTA_SET_NAME, set), func(uint16, []byte) {})
	if err != nil {
		return fmt.Errorf("set %s of table %s: %w", set, table, err)
	}
	return nil
}

// Counted is what a named counter says.
type Counted struct{ Packets, Octets uint64 }

// Counts gives the named counters of a table.
func (n *nft) Counts(table string) (map[string]Counted, error) {
	w := header(table, unix.NFTA_OBJ_TABLE)
	w.u32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
	for try := 1; ; try++ {
		all := map[string]Counted{}
		err := n.asks.ask(nft16(unix.NFT_MSG_GETOBJ), unix.NLM_F_DUMP, w.b, func(_ uint16, b []byte) {
			a := attributesOf(b)
			if len(b) == 0 || idOf(b[0], text(a[unix.NFTA_OBJ_TABLE])) != table || bigNumber(a[unix.NFTA_OBJ_TYPE]) != unix.NFT_OBJECT_COUNTER {
				return
			}
			all[text(a[unix.NFTA_OBJ_NAME])] = parseCounter(a[unix.NFTA_OBJ_DATA])
		})
		if errors.Is(err, errInterrupted) && try < 10 {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("counters of table %s: %w", table, err)
		}
		return all, nil
	}
}
