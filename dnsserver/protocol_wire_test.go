package dnsserver

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// wire is a message of the protocol table, written octet by octet: the library
// that the server reads and writes messages with has no part in it, neither
// here nor in [readReply].
type wire []byte

// protocolID is the id of the messages of the table.
const protocolID = 0x5172

// Flags of the header (RFC 1035 4.1.1, RFC 4035 3.1.6 for AD and CD).
const (
	flagQR, flagAA, flagTC, flagRD = 0x8000, 0x0400, 0x0200, 0x0100
	flagRA, flagZ, flagAD, flagCD  = 0x0080, 0x0040, 0x0020, 0x0010
)

const (
	typeA, typeNS, typeSOA, typeTXT, typeOPT = 1, 2, 6, 16, 41
	typeTSIG, typeIXFR, typeAXFR, typeANY    = 250, 251, 252, 255
	classIN, classANY                        = 1, 255
)

// header starts a message with flags and the counts of its sections.
func wireHeader(flags uint16, counts ...uint16) wire {
	w := make(wire, 12)
	binary.BigEndian.PutUint16(w, protocolID)
	binary.BigEndian.PutUint16(w[2:], flags)
	for i, n := range counts {
		binary.BigEndian.PutUint16(w[4+2*i:], n)
	}
	return w
}

func opcode(n uint16) uint16 { return n << 11 }

// wireQuery is a whole query of class IN.
func wireQuery(name string, qtype uint16) wire {
	return wireHeader(0, 1).question(name, qtype, classIN)
}

func (w wire) u16(values ...uint16) wire {
	for _, v := range values {
		w = binary.BigEndian.AppendUint16(w, v)
	}
	return w
}

// octets adds octets in hexadecimal, with spaces where they help the eye.
func (w wire) octets(text string) wire {
	data, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		panic(err)
	}
	return append(w, data...)
}

// name adds a name without compression; "" is the root.
func (w wire) name(name string) wire {
	for label := range strings.SplitSeq(name, ".") {
		if label != "" {
			w = append(append(w, byte(len(label))), label...)
		}
	}
	return append(w, 0)
}

func (w wire) question(name string, qtype, class uint16) wire {
	return w.name(name).u16(qtype, class)
}

// record adds an A record, and counts it: section 1 is the answer, 3 the
// additional section.
func (w wire) record(section int) wire {
	w = w.counted(section)
	return w.name("x").u16(typeA, classIN, 0, 60, 4).octets("c0000201")
}

// opt adds an OPT record to the additional section (RFC 6891 6.1.2).
func (w wire) opt(size uint16, version byte, flags uint16, options string) wire {
	return w.optOf("", 3, size, version, flags, options)
}

// optOf adds an OPT record of any owner to any section.
func (w wire) optOf(owner string, section int, size uint16, version byte, flags uint16, options string) wire {
	w = w.counted(section)
	w = append(w.name(owner).u16(typeOPT, size), 0, version)
	data := wire{}.octets(options)
	return append(w.u16(flags, uint16(len(data))), data...)
}

// counted gives a copy with one more record in a section.
func (w wire) counted(section int) wire { return w.with(5+2*section, w[5+2*section]+1) }

// with gives a copy in which one octet is another.
func (w wire) with(at int, value byte) wire {
	w = slices.Clone(w)
	w[at] = value
	return w
}

// framed puts the length before the message (RFC 1035 4.2.2).
func (w wire) framed() []byte { return append(wire{}.u16(uint16(len(w))), w...) }

// reply is what the octets of a reply say.
type reply struct {
	id, flags uint16
	question  []byte // its octets; nil: none
	records   []replyRecord
	opts      int
	opt       replyRecord
	size      int
}

type replyRecord struct {
	section      int // 1 answer, 2 authority, 3 additional
	owner        string
	rtype, class uint16
	ttl          uint32
	data         []byte
}

var errReply = errors.New("the reply is malformed")

// readReply reads a whole reply: every count must be right, no octet left over,
// and every pointer must point back (RFC 1035 4.1.4).
func readReply(msg []byte) (*reply, error) {
	if len(msg) < 12 {
		return nil, errReply
	}
	u16 := func(at int) uint16 { return binary.BigEndian.Uint16(msg[at:]) }
	r := &reply{id: u16(0), flags: u16(2), size: len(msg)}
	off := 12
	if u16(4) > 1 {
		return nil, errReply
	}
	if u16(4) == 1 {
		_, end, err := readName(msg, off)
		if err != nil || end+4 > len(msg) {
			return nil, errReply
		}
		r.question, off = msg[off:end+4], end+4
	}
	for section := 1; section <= 3; section++ {
		for range u16(4 + 2*section) {
			owner, at, err := readName(msg, off)
			if err != nil || at+10 > len(msg) || at+10+int(u16(at+8)) > len(msg) {
				return nil, errReply
			}
			off = at + 10 + int(u16(at+8))
			rr := replyRecord{section, owner, u16(at), u16(at + 2), binary.BigEndian.Uint32(msg[at+4:]), msg[at+10 : off]}
			if rr.rtype == typeOPT {
				r.opt, r.opts = rr, r.opts+1
				continue
			}
			r.records = append(r.records, rr)
		}
	}
	if off != len(msg) {
		return nil, errReply
	}
	return r, nil
}

// readName reads a name in its case and gives the offset after it. A pointer
// leads before the labels that it ends, so that there is an end.
func readName(msg []byte, off int) (name string, end int, err error) {
	end = -1
	for first := off; off < len(msg); {
		n := int(msg[off])
		switch {
		case n == 0:
			if end < 0 {
				end = off + 1
			}
			return cmp.Or(name, "."), end, nil
		case n >= 0xc0 && off+1 < len(msg):
			if end < 0 {
				end = off + 2
			}
			to := int(binary.BigEndian.Uint16(msg[off:])) & 0x3fff
			if to >= first {
				return "", 0, errReply
			}
			off, first = to, to
		case n >= 0x40 || off+1+n > len(msg):
			return "", 0, errReply
		default:
			name += string(msg[off+1:off+1+n]) + "."
			off += 1 + n
		}
	}
	return "", 0, errReply
}

// options gives the codes of the options of the OPT record, in order.
func (r *reply) options() (codes []uint16, err error) {
	for data := r.opt.data; len(data) > 0; {
		if len(data) < 4 || len(data) < 4+int(binary.BigEndian.Uint16(data[2:])) {
			return nil, errReply
		}
		codes = append(codes, binary.BigEndian.Uint16(data))
		data = data[4+int(binary.BigEndian.Uint16(data[2:])):]
	}
	return codes, nil
}

func (r *reply) rcode() int { return int(r.opt.ttl>>24)<<4 | int(r.flags&0xf) }

func (r *reply) count(section int) (n int) {
	for _, rr := range r.records {
		if rr.section == section {
			n++
		}
	}
	return n
}

// String gives the facts: rcode, flags that are set, q for a question, the
// records of the three sections without OPT, and what the OPT record says.
func (r *reply) String() string {
	names := map[int]string{0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 6: "YXDOMAIN", 9: "NOTAUTH", 16: "BADVERS"}
	words := []string{names[r.rcode()]}
	if words[0] == "" {
		words[0] = fmt.Sprint("rcode ", r.rcode())
	}
	for _, f := range []struct {
		bit  uint16
		name string
	}{{flagAA, "aa"}, {flagTC, "tc"}, {flagRD, "rd"}, {flagRA, "ra"}, {flagZ, "z"}, {flagAD, "ad"}, {flagCD, "cd"}} {
		if r.flags&f.bit != 0 {
			words = append(words, f.name)
		}
	}
	if r.question != nil {
		words = append(words, "q")
	}
	words = append(words, fmt.Sprintf("%d/%d/%d", r.count(1), r.count(2), r.count(3)))
	if r.opts > 0 {
		words = append(words, "opt")
		if r.opt.ttl&0x8000 != 0 {
			words = append(words, "do")
		}
		if codes, err := r.options(); err != nil || len(codes) > 0 {
			words = append(words, fmt.Sprint(codes))
		}
	}
	return strings.Join(words, " ")
}

// The reader is the judge of all else here: it must see what is wrong.
func TestReadReply(t *testing.T) {
	good := wireHeader(flagQR, 1, 1).question("www.proto.test", typeA, classIN).octets("c00c 0001 0001 0000012c 0004 c0000201")
	r, err := readReply(good)
	if err != nil || r.String() != "NOERROR q 1/0/0" || r.records[0].owner != "www.proto.test." {
		t.Errorf("got %v, %v", r, err)
	}
	for name, bad := range map[string][]byte{
		"an octet too many":    append(slices.Clone(good), 0),
		"an octet too few":     good[:len(good)-1],
		"a count too high":     good.with(9, 1),
		"a pointer to itself":  good.with(33, 32),
		"a pointer forward":    good.with(33, 34),
		"a label of type 0x40": good.with(12, 0x43),
		"a label past the end": good.with(16, 0x3f),
	} {
		if r, err := readReply(bad); err == nil {
			t.Errorf("%s: read as %v", name, r)
		}
	}
}
