package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// elementsPerMessage keeps a list of elements below the 64 KiB of an attribute.
const elementsPerMessage = 400

// wireSet writes the body of a new set.
func wireSet(table string, s *Set) []byte {
	w := header(table, unix.NFTA_SET_TABLE)
	w.text(unix.NFTA_SET_NAME, s.Name)
	var flags uint32
	if s.Interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	if s.boxes() {
		flags |= nftSetConcat
	}
	if len(s.Data) > 0 || s.Verdicts {
		flags |= unix.NFT_SET_MAP
	}
	if s.Dynamic {
		flags |= unix.NFT_SET_EVAL
	}
	if s.Dynamic && !s.counts { // the kernel takes no timeouts where it counts connections
		flags |= unix.NFT_SET_TIMEOUT
	}
	w.u32(unix.NFTA_SET_FLAGS, flags)
	w.u32(unix.NFTA_SET_KEY_TYPE, numberOf(s.Key))
	w.u32(unix.NFTA_SET_KEY_LEN, uint32(widthOf(s.Key)))
	switch {
	case s.Verdicts:
		w.u32(unix.NFTA_SET_DATA_TYPE, unix.NFT_DATA_VERDICT)
		w.u32(unix.NFTA_SET_DATA_LEN, 16) // what the kernel and nft take
	case len(s.Data) > 0:
		w.u32(unix.NFTA_SET_DATA_TYPE, numberOf(s.Data))
		w.u32(unix.NFTA_SET_DATA_LEN, uint32(widthOf(s.Data)))
	}
	w.u32(unix.NFTA_SET_ID, 1) // asked for, but it is called by name
	if s.Timeout > 0 {
		w.u64(unix.NFTA_SET_TIMEOUT, uint64(s.Timeout.Milliseconds()))
	}
	w.wireDesc(s)
	if s.Counted {
		w.counting()
	}
	w.put(unix.NFTA_SET_USERDATA, setUserData(s))
	return w.b
}

// check says what is wrong with a set.
func (s *Set) check() error {
	for _, list := range [][]Type{s.Key, s.Data} {
		for _, t := range list {
			if _, ok := types[t]; !ok {
				return fmt.Errorf("set %s: there is no type %d", s.Name, t)
			}
		}
	}
	switch {
	case s.Name == "" || len(s.Name) >= unix.NFT_SET_MAXNAMELEN:
		return fmt.Errorf("set %q: a bad name", s.Name)
	case len(s.Key) == 0:
		return fmt.Errorf("set %s: it has no type", s.Name)
	case s.Verdicts && (len(s.Data) > 0 || s.Dynamic):
		return fmt.Errorf("set %s: a map of verdicts has no other data and is not written by packets", s.Name)
	case s.Interval && !slices.ContainsFunc(s.Key, func(t Type) bool { return types[t].order }):
		return fmt.Errorf("set %s: ranges are of types in the network's order", s.Name)
	case s.Counted && s.Dynamic:
		return fmt.Errorf("set %s: what packets write is not counted", s.Name)
	case s.Interval && s.Dynamic:
		return fmt.Errorf("set %s: packets write no ranges", s.Name)
	case s.Timeout > 0 && !s.Dynamic:
		return fmt.Errorf("set %s: only dynamic sets have a timeout", s.Name)
	case s.counts && s.Timeout > 0:
		return fmt.Errorf("set %s: where connections are counted there are no timeouts", s.Name)
	case s.Timeout%time.Millisecond != 0:
		return fmt.Errorf("set %s: a timeout of parts of a millisecond", s.Name)
	}
	return nil
}

// checkElement says what is wrong with an element of a set.
func (s *Set) checkElement(el Element) error {
	_, _, verdict := verdictCode(el.Verdict)
	var why string
	switch {
	case len(el.Key) != widthOf(s.Key):
		why = fmt.Sprintf("a key of %d octets instead of %d", len(el.Key), widthOf(s.Key))
	case !s.Interval && el.End != nil:
		why = "it is a range, and the set is not of ranges"
	case s.boxes() && len(el.End) == len(el.Key) && s.checkBox(&el) != "":
		why = s.checkBox(&el)
	case s.checkLimit(&el) != "":
		why = s.checkLimit(&el)
	case s.Interval && el.End != nil && (len(el.End) != len(el.Key) || bytes.Compare(el.Key, el.End) > 0):
		why = "the range ends before it begins"
	case len(el.Data) != widthOf(s.Data):
		why = fmt.Sprintf("data of %d octets instead of %d", len(el.Data), widthOf(s.Data))
	case s.Verdicts != verdict:
		why = "verdicts and only they stand in maps of verdicts"
	case el.Timeout > 0 && !s.Dynamic:
		why = "only dynamic sets have elements with a timeout"
	default:
		return nil
	}
	return fmt.Errorf("%s: %s", s.elementText(el), why)
}

// last gives the last key of an element.
func (el Element) last() []byte {
	if el.End != nil {
		return el.End
	}
	return el.Key
}

// next gives the octets that follow as a number; nil after the last.
func next(b []byte) []byte {
	b = slices.Clone(b)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]++; b[i] != 0 {
			return b
		}
	}
	return nil
}

// before gives the octets that come before as a number; all ones before 0.
func before(b []byte) []byte {
	b = slices.Clone(b)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i]--; b[i] != 0xff {
			break
		}
	}
	return b
}

// element writes one element, which in a set of ranges is two: its first key,
// and what follows its last.
func (w *wire) element(s *Set, el Element, keysOnly bool) {
	at := w.open(unix.NFTA_LIST_ELEM)
	w.value(unix.NFTA_SET_ELEM_KEY, el.Key)
	if s.boxes() {
		w.value(nftaElementEnd, el.last())
	}
	if !keysOnly {
		w.limit(&el)
		w.counted(&el)
		switch {
		case el.Verdict != nil:
			w.verdict(unix.NFTA_SET_ELEM_DATA, el.Verdict)
		case len(el.Data) > 0:
			w.value(unix.NFTA_SET_ELEM_DATA, el.Data)
		}
		if el.Timeout > 0 {
			w.u64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(el.Timeout.Milliseconds()))
		}
		if el.Expires > 0 {
			w.u64(unix.NFTA_SET_ELEM_EXPIRATION, uint64(el.Expires.Milliseconds()))
		}
	}
	w.end(at)
	if !s.Interval || s.boxes() {
		return
	}
	if end := next(el.last()); end != nil {
		at := w.open(unix.NFTA_LIST_ELEM)
		w.value(unix.NFTA_SET_ELEM_KEY, end)
		w.u32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
		w.end(at)
	}
}

// elementSize is about how many octets an element takes in a message.
func elementSize(s *Set) int {
	size := 28 + padded(widthOf(s.Key)) + padded(widthOf(s.Data))
	if len(s.Data) == 0 {
		size += 72 // it may have a limit
	}
	if s.Verdicts {
		size += 40
	}
	if s.Interval {
		size += 24 + widthOf(s.Key)
	}
	return size
}

// wireElements writes the body of a message with elements.
func wireElements(table string, s *Set, list []Element, keysOnly bool) []byte {
	w := header(table, unix.NFTA_SET_ELEM_LIST_TABLE)
	w.text(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
	at := w.open(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	w.b = slices.Grow(w.b, len(list)*elementSize(s))
	for _, el := range list {
		w.element(s, el, keysOnly)
	}
	w.end(at)
	return w.b
}

// parseElements reads a message with elements as the kernel has them: those of
// ranges are not joined yet. Their keys and data stay parts of the message.
func parseElements(b []byte, f func(el Element, rangeEnd bool)) {
	if len(b) < nfgenSize {
		return
	}
	for kind, v := range attributes(b[nfgenSize:]) {
		if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		for kind, v := range attributes(v) {
			if kind == unix.NFTA_LIST_ELEM {
				f(parseElement(v))
			}
		}
	}
}

func parseElement(b []byte) (el Element, rangeEnd bool) {
	for kind, v := range attributes(b) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			el.Key, _ = parseData(v)
		case unix.NFTA_SET_ELEM_DATA:
			el.Data, el.Verdict = parseData(v)
		case nftaElementEnd:
			el.End, _ = parseData(v)
		case unix.NFTA_SET_ELEM_EXPR:
			el.expression(v)
		case unix.NFTA_SET_ELEM_FLAGS:
			rangeEnd = len(v) == 4 && binary.BigEndian.Uint32(v)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_TIMEOUT:
			el.Timeout = milliseconds(v)
		case unix.NFTA_SET_ELEM_EXPIRATION:
			el.Expires = milliseconds(v)
		}
	}
	return el, rangeEnd
}

func milliseconds(v []byte) time.Duration {
	return time.Duration(min(bigNumber(v), uint64(1<<62/time.Millisecond))) * time.Millisecond
}

func parseData(b []byte) (value []byte, verdict Step) {
	for kind, v := range attributes(b) {
		switch kind {
		case unix.NFTA_DATA_VALUE:
			value = v
		case unix.NFTA_DATA_VERDICT:
			var code int32
			var chain string
			for kind, v := range attributes(v) {
				switch kind {
				case unix.NFTA_VERDICT_CODE:
					code = int32(bigNumber(v))
				case unix.NFTA_VERDICT_CHAIN:
					chain = text(v)
				}
			}
			verdict = verdictOf(code, chain)
		}
	}
	return value, verdict
}

// rawElement is an element as the kernel keeps it.
type rawElement struct {
	Element
	end bool // the first key after a range
}

// joinRanges makes ranges of what the kernel keeps of them.
func joinRanges(list []rawElement) (all []Element) {
	list = inOrder(list, func(el *rawElement) (key, last []byte) {
		if el.end {
			return el.Key, nil // before a range that begins there
		}
		return el.Key, []byte{1}
	})
	for i, el := range list {
		if el.end {
			continue // also the first of all, which nft puts before what no range has
		}
		last := bytes.Repeat([]byte{0xff}, len(el.Key))
		if i+1 < len(list) {
			last = before(list[i+1].Key)
		}
		if !bytes.Equal(last, el.Key) {
			el.End = last
		}
		all = append(all, el.Element)
	}
	return all
}

// normal gives an element as it is read back, so that both compare.
func (el Element) normal() Element {
	if el.End != nil && bytes.Equal(el.End, el.Key) {
		el.End = nil
	}
	return el
}
