package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// wire writes attributes of netlink one after another into one buffer. Numbers
// of nftables are big-endian.
type wire struct{ b []byte }

func (w *wire) put(kind uint16, v []byte) {
	w.b = native.AppendUint16(w.b, uint16(unix.SizeofRtAttr+len(v)))
	w.b = native.AppendUint16(w.b, kind)
	w.b = append(w.b, v...)
	w.align()
}

func (w *wire) align() {
	for len(w.b)%unix.RTA_ALIGNTO != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *wire) text(kind uint16, s string) {
	w.b = native.AppendUint16(w.b, uint16(unix.SizeofRtAttr+len(s)+1))
	w.b = native.AppendUint16(w.b, kind)
	w.b = append(append(w.b, s...), 0)
	w.align()
}

func (w *wire) u8(kind uint16, n uint8) { w.put(kind, []byte{n}) }

func (w *wire) u32(kind uint16, n uint32) {
	w.b = native.AppendUint16(w.b, unix.SizeofRtAttr+4)
	w.b = native.AppendUint16(w.b, kind)
	w.b = binary.BigEndian.AppendUint32(w.b, n)
}

func (w *wire) u64(kind uint16, n uint64) {
	w.b = native.AppendUint16(w.b, unix.SizeofRtAttr+8)
	w.b = native.AppendUint16(w.b, kind)
	w.b = binary.BigEndian.AppendUint64(w.b, n)
}

// open begins an attribute that holds others, and end ends it. At most 64 KiB
// fit into one.
func (w *wire) open(kind uint16) (at int) {
	at = len(w.b)
	w.b = append(w.b, 0, 0, 0, 0)
	native.PutUint16(w.b[at+2:], kind|unix.NLA_F_NESTED)
	return at
}

func (w *wire) end(at int) { native.PutUint16(w.b[at:], uint16(len(w.b)-at)) }

// value writes octets as nftables wants data.
func (w *wire) value(kind uint16, v []byte) {
	at := w.open(kind)
	w.put(unix.NFTA_DATA_VALUE, v)
	w.end(at)
}

// verdict writes where to go on.
func (w *wire) verdict(kind uint16, s Step) bool {
	code, chain, ok := verdictCode(s)
	at := w.open(kind)
	in := w.open(unix.NFTA_DATA_VERDICT)
	w.u32(unix.NFTA_VERDICT_CODE, uint32(code))
	if chain != "" {
		w.text(unix.NFTA_VERDICT_CHAIN, chain)
	}
	w.end(in)
	w.end(at)
	return ok
}

// verdictCode gives the kernel's number of a verdict, and its chain.
func verdictCode(s Step) (code int32, chain string, ok bool) {
	switch s := s.(type) {
	case Accept:
		return 1, "", true
	case Drop:
		return 0, "", true
	case Jump:
		return unix.NFT_JUMP, s.Chain, true
	case Goto:
		return unix.NFT_GOTO, s.Chain, true
	case Return:
		return unix.NFT_RETURN, "", true
	}
	return 0, "", false
}

// verdictOf is the other way round.
func verdictOf(code int32, chain string) Step {
	switch code {
	case 1:
		return Accept{}
	case unix.NFT_JUMP:
		return Jump{chain}
	case unix.NFT_GOTO:
		return Goto{chain}
	case unix.NFT_RETURN:
		return Return{}
	}
	return Drop{}
}

// expr writes one expression of a rule.
func (w *wire) expr(name string, body func()) {
	at := w.open(unix.NFTA_LIST_ELEM)
	w.exprBody(name, body)
	w.end(at)
}

func (w *wire) exprBody(name string, body func()) {
	w.text(unix.NFTA_EXPR_NAME, name)
	in := w.open(unix.NFTA_EXPR_DATA)
	body()
	w.end(in)
}
