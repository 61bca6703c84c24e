package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// To read a large set takes time that grows with the square of its size: for each
// 32 KiB of answers the kernel goes through all that it has told before. The
// 640,000 slots of 10,000 farms would take ten seconds of a processor at each start.
//
// So a large map is not read when it is found at the start. All that is wished is
// put there, which costs a fraction of a first load: what is there with the same
// data the kernel leaves as it is, without a word to those who listen. Where other
// data is there it refuses, and says so of each message: of these the elements are
// asked for by key. When all that is wished stands, the number of elements says
// whether there are others; only then is the map read.
//
// It is for maps of data alone: the kernel compares no limits and no counters.

// nftaSetCount is the attribute of a set with how many elements it has (Linux 6.16).
const nftaSetCount = 20

// adoptFrom is how many elements make a set large. Maps by the number of a virtual
// server, whose elements may have limits, never have so many.
const adoptFrom = 1 << 16

// adoptable says whether a set that stands with so many elements is not read.
func adoptable(set *Set, count uint32) bool {
	return count > adoptFrom && len(set.Data) > 0 && !set.Interval && !set.Dynamic && !set.Counted
}

// meet asks for what is there in place of elements that the kernel refused, in sets
// that were not read, and says whether it learnt something by it.
func (n *nft) meet(k *keeper, bad []opError) (met bool, err error) {
	for _, b := range bad {
		have := k.have.sets[b.op.of.set()]
		if have == nil || !have.unread || !errors.Is(b, unix.EEXIST) && !errors.Is(b, unix.EBUSY) {
			continue
		}
		before := have.elements.len()
		if err := n.meetThese(k.name, have, b.op.list); err != nil {
			return false, fmt.Errorf("reading elements of set %s: %w", have.set.Name, err)
		}
		met = met || have.elements.len() > before
	}
	return met, nil
}

// meetThese asks for elements by their keys. The kernel answers to one that is not
// there by an error, and to none after it.
func (n *nft) meetThese(table string, have *setHave, list []Element) error {
	for len(list) > 0 {
		answered := 0
		err := n.changes.ask(nft16(unix.NFT_MSG_GETSETELEM), unix.NLM_F_ACK, wireElements(table, &have.set, list, true), func(_ uint16, b []byte) {
			parseElements(b, func(el Element, _ bool) {
				have.elements.put(pack(el))
				answered++
			})
		})
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.ENOENT) || answered >= len(list):
			return err
		}
		list = list[answered+1:]
	}
	return nil
}

// changes counts what is really changed by messages: elements that are put to see
// whether they are there do not count if as many were there as should be.
func (k *keeper) changes(ops []*op, aim *tableWish) (count int) {
	for _, o := range ops {
		have := k.have.sets[o.of.set()]
		if have == nil || !have.unread || o.kind != unix.NFT_MSG_NEWSETELEM || int(have.count) != aim.sets[have.set.Name].Elements.Len() {
			count++
		}
	}
	return count
}

// surplus reads the sets that were not read and have more than is wished, and says
// whether there were any.
func (n *nft) surplus(k *keeper, aim *tableWish) (more bool, err error) {
	if aim == nil {
		return false, nil
	}
	for name, have := range k.have.sets {
		if !have.unread {
			continue
		}
		now := noTable()
		question := wireName(k.name, unix.NFTA_SET_TABLE, unix.NFTA_SET_NAME, name)
		if err := n.changes.ask(nft16(unix.NFT_MSG_GETSET), unix.NLM_F_ACK, question, func(_ uint16, b []byte) { now.set(attributesOf(b)) }); err != nil {
			return false, fmt.Errorf("counting the elements of set %s: %w", name, err)
		}
		if now.sets[name] != nil && int(now.sets[name].count) == have.elements.len() {
			have.unread = false
			continue
		}
		if err := have.read(n.changes, k.name, aim.sets[name]); err != nil {
			return false, fmt.Errorf("reading set %s: %w", name, err)
		}
		*k.look(name) = pending{all: true}
		more = true
	}
	return more, nil
}
