package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Attributes and flags of nf_tables.h that package unix does not name.
const (
	nftaSetDescConcat = 2
	nftaSetFieldLen   = 1
	nftaSetExpr       = 17
	nftaElementEnd    = 10
	nftSetConcat      = 0x80
)

// boxes says whether the ranges of a set are of keys of several parts, which
// the kernel keeps as they are; those of one it keeps by their first keys.
func (s *Set) boxes() bool { return s.Interval && len(s.Key) > 1 }

// wireDesc writes what the kernel is told of a set besides: how many elements it
// may have, and where the parts of its keys end if these are ranges each.
func (w *wire) wireDesc(s *Set) {
	if s.Size == 0 && !s.boxes() {
		return
	}
	at := w.open(unix.NFTA_SET_DESC)
	if s.Size > 0 {
		w.u32(unix.NFTA_SET_DESC_SIZE, uint32(s.Size))
	}
	if s.boxes() {
		list := w.open(nftaSetDescConcat)
		for _, t := range s.Key {
			part := w.open(unix.NFTA_LIST_ELEM)
			w.u32(nftaSetFieldLen, uint32(types[t].width))
			w.end(part)
		}
		w.end(list)
	}
	w.end(at)
}

// counting writes that each element gets a counter.
func (w *wire) counting() {
	at := w.open(nftaSetExpr)
	w.exprBody("counter", func() {
		w.u64(unix.NFTA_COUNTER_BYTES, 0)
		w.u64(unix.NFTA_COUNTER_PACKETS, 0)
	})
	w.end(at)
}

// limit writes the limit that an element has.
func (w *wire) limit(el *Element) {
	if el.Over == 0 && el.Rate == nil {
		return
	}
	at := w.open(unix.NFTA_SET_ELEM_EXPR)
	if el.Rate != nil {
		w.exprBody("limit", func() { w.rate(*el.Rate) })
	} else {
		w.exprBody("connlimit", func() { w.connlimit(el.Over) })
	}
	w.end(at)
}

func (w *wire) connlimit(over uint32) {
	w.u32(nftaConnlimitCount, over)
	w.u32(nftaConnlimitFlags, nftConnlimitInvert)
}

// rate writes a limit that goes on for what is above.
func (w *wire) rate(r Rate) {
	kind := uint32(unix.NFT_LIMIT_PKTS)
	if r.Octets {
		kind = unix.NFT_LIMIT_PKT_BYTES
	}
	w.u64(unix.NFTA_LIMIT_RATE, r.PerSecond)
	w.u64(unix.NFTA_LIMIT_UNIT, 1)
	w.u32(unix.NFTA_LIMIT_BURST, r.Burst)
	w.u32(unix.NFTA_LIMIT_TYPE, kind)
	w.u32(unix.NFTA_LIMIT_FLAGS, unix.NFT_LIMIT_F_INV)
}

// rateMost keeps the kernel's count of nanoseconds below 64 bits.
const rateMost = 1 << 40

func (r *Rate) check() error {
	switch {
	case r.PerSecond == 0:
		return errors.New("a rate of 0")
	case r.PerSecond > rateMost:
		return fmt.Errorf("a rate of %d, above %d", r.PerSecond, uint64(rateMost))
	}
	return nil
}

// expression reads the expression of an element: a limit, or its counter.
func (el *Element) expression(b []byte) {
	var name string
	var data []byte
	for kind, v := range attributes(b) {
		switch kind {
		case unix.NFTA_EXPR_NAME:
			name = text(v)
		case unix.NFTA_EXPR_DATA:
			data = v
		}
	}
	switch name {
	case "counter":
		c := parseCounter(data)
		el.Packets, el.Octets = c.Packets, c.Octets
	case "connlimit":
		for kind, v := range attributes(data) {
			if kind == nftaConnlimitCount && len(v) == 4 {
				el.Over = binary.BigEndian.Uint32(v)
			}
		}
	case "limit":
		el.Rate = parseRate(data)
	}
}

// parseRate reads a limit. One of another unit is none of ours: nothing that is
// wished is like a rate of 0.
func parseRate(b []byte) *Rate {
	r := &Rate{}
	for kind, v := range attributes(b) {
		switch n := bigNumber(v); kind {
		case unix.NFTA_LIMIT_RATE:
			r.PerSecond = n
		case unix.NFTA_LIMIT_BURST:
			r.Burst = uint32(n)
		case unix.NFTA_LIMIT_TYPE:
			r.Octets = n == unix.NFT_LIMIT_PKT_BYTES
		case unix.NFTA_LIMIT_UNIT:
			if n != 1 {
				return &Rate{}
			}
		}
	}
	return r
}

func parseCounter(b []byte) (c Counted) {
	for kind, v := range attributes(b) {
		switch kind {
		case unix.NFTA_COUNTER_PACKETS:
			c.Packets = bigNumber(v)
		case unix.NFTA_COUNTER_BYTES:
			c.Octets = bigNumber(v)
		}
	}
	return c
}

// limited says whether an element has a limit, and so is found only above it.
func (el *Element) limited() bool { return el.Over > 0 || el.Rate != nil }

// checkLimit says what is wrong with the limit of an element; empty: nothing.
func (s *Set) checkLimit(el *Element) string {
	switch {
	case !el.limited():
		return ""
	case el.Over > 0 && el.Rate != nil:
		return "an element has one limit: of connections, or a rate"
	case s.Dynamic:
		return "elements of sets that packets write have no limits of their own"
	case s.Counted:
		return "what has a limit is not counted"
	case el.Over > 0 && s.Size > 0:
		return "the kernel counts connections only in sets without a size"
	case el.Over > 0 && s.Interval:
		return "the kernel counts connections by keys, not by ranges"
	case el.Rate != nil && el.Rate.check() != nil:
		return el.Rate.check().Error()
	}
	return ""
}

// checkBox says what is wrong with a range whose keys have several parts.
func (s *Set) checkBox(el *Element) string {
	key, end := el.Key, el.End
	for i, t := range s.Key {
		n := types[t].width
		c := bytes.Compare(key[:n], end[:n])
		switch {
		case c > 0:
			return fmt.Sprintf("part %d of the range ends before it begins", i+1)
		case c < 0 && !types[t].order:
			return fmt.Sprintf("part %d is not in the network's order, so more and less mean nothing", i+1)
		}
		key, end = key[min(padded(n), len(key)):], end[min(padded(n), len(end)):]
	}
	return ""
}
