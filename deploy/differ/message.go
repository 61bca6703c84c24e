package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The messages are read and written here, and not by the library that Portolan
// uses: a fault of the library would be on both sides and not be seen.

const (
	headerSize = 12
	classIN    = 1
	classCH    = 3
	classHS    = 4
	classNONE  = 254
	classANY   = 255
)

// Flags of the header's second and third octet.
const (
	flagQR = 1 << 15
	flagAA = 1 << 10
	flagTC = 1 << 9
	flagRD = 1 << 8
	flagRA = 1 << 7
	flagZ  = 1 << 6
	flagAD = 1 << 5
	flagCD = 1 << 4
)

// Rcodes that rules speak of.
const (
	rcodeNoError  = 0
	rcodeFormErr  = 1
	rcodeServFail = 2
	rcodeNXDomain = 3
	rcodeNotImp   = 4
	rcodeRefused  = 5
	rcodeYXDomain = 6
	rcodeNotAuth  = 9
	rcodeBadVers  = 16
)

var rcodeNames = map[int]string{rcodeNoError: "NOERROR", rcodeFormErr: "FORMERR", rcodeServFail: "SERVFAIL", rcodeNXDomain: "NXDOMAIN",
	rcodeNotImp: "NOTIMP", rcodeRefused: "REFUSED", rcodeYXDomain: "YXDOMAIN", rcodeNotAuth: "NOTAUTH", rcodeBadVers: "BADVERS"}

func rcodeName(rcode int) string {
	if s, ok := rcodeNames[rcode]; ok {
		return s
	}
	return fmt.Sprint("RCODE", rcode)
}

// record is a resource record, comparable: two are equal if every field is.
type record struct {
	owner name
	rtype uint16
	class uint16
	ttl   uint32
	data  string // RDATA on the wire, names not compressed
}

func (r record) String() string {
	return fmt.Sprintf("%s %d %s %s", r.owner, r.ttl, typeName(r.rtype), rdataText(r.rtype, r.data))
}

// opt is what an OPT record says (RFC 6891 6.1).
type opt struct {
	size    uint16
	version uint8
	do      bool
	z       uint16   // the other 15 flags
	options []uint16 // their codes, sorted: what is in a cookie is its server's own
}

// reply is a message that a server sent, in canonical form: names in lower
// case, each section a set, sorted; OPT apart.
type reply struct {
	silent   bool // there was none
	flags    uint16
	opcode   int
	rcode    int    // with the upper bits that OPT carries
	question string // octets, as sent
	sections [3][]record
	opt      *opt
	size     int // octets
}

const (
	answerSection = iota
	authoritySection
	additionalSection
)

func (r *reply) has(flag uint16) bool { return r.flags&flag != 0 }

var errShort = errors.New("message ends too early")

// parseReply reads a message whole. What cannot be read is an error: no server
// may send it.
func parseReply(msg []byte) (*reply, error) {
	if len(msg) < headerSize {
		return nil, errShort
	}
	count := func(i int) int { return int(binary.BigEndian.Uint16(msg[4+2*i:])) }
	r := &reply{flags: binary.BigEndian.Uint16(msg[2:]), size: len(msg)}
	r.opcode, r.rcode = int(r.flags>>11)&0xf, int(r.flags)&0xf
	off := headerSize
	for range count(0) {
		_, next, err := unpackName(msg, off)
		if err != nil || next+4 > len(msg) {
			return nil, errors.Join(errShort, err)
		}
		off = next + 4
	}
	r.question = string(msg[headerSize:off])
	for section := range r.sections {
		for range count(section + 1) {
			rr, next, err := unpackRecord(msg, off)
			if err != nil {
				return nil, err
			}
			off = next
			if rr.rtype != typeOPT {
				r.sections[section] = append(r.sections[section], rr)
			} else if err := r.addOPT(rr, section); err != nil {
				return nil, err
			}
		}
		r.sections[section] = canonicalSet(r.sections[section])
	}
	if off != len(msg) {
		return nil, fmt.Errorf("%d octets after the message", len(msg)-off)
	}
	return r, nil
}

// canonicalSet sorts records and keeps one of each.
func canonicalSet(list []record) []record {
	slices.SortFunc(list, compareRecords)
	return slices.Compact(list)
}

func compareRecords(a, b record) int {
	if c := strings.Compare(string(a.owner), string(b.owner)); c != 0 {
		return c
	}
	if a.rtype != b.rtype {
		return int(a.rtype) - int(b.rtype)
	}
	if c := strings.Compare(a.data, b.data); c != 0 {
		return c
	}
	return int(int64(a.ttl) - int64(b.ttl))
}

// addOPT reads the OPT record of a reply.
func (r *reply) addOPT(rr record, section int) error {
	if r.opt != nil || section != additionalSection || rr.owner != root {
		return errors.New("an OPT record too many, or where none may be")
	}
	o := &opt{size: rr.class, version: uint8(rr.ttl >> 16), do: rr.ttl&0x8000 != 0, z: uint16(rr.ttl & 0x7fff)}
	r.rcode |= int(rr.ttl>>24) << 4
	for c := (&cutter{data: rr.data}); c.data != ""; {
		o.options = append(o.options, uint16(c.number(2)))
		c.take(int(c.number(2)))
		if c.bad {
			return errors.New("an EDNS option ends too early")
		}
	}
	slices.Sort(o.options)
	r.opt = o
	return nil
}

// unpackRecord reads one record, in canonical form.
func unpackRecord(msg []byte, off int) (record, int, error) {
	owner, off, err := unpackName(msg, off)
	if err != nil || off+10 > len(msg) {
		return record{}, 0, errors.Join(errShort, err)
	}
	fixed := msg[off : off+10]
	r := record{owner: owner.lower(), rtype: binary.BigEndian.Uint16(fixed), class: binary.BigEndian.Uint16(fixed[2:]), ttl: binary.BigEndian.Uint32(fixed[4:])}
	off += 10
	end := off + int(binary.BigEndian.Uint16(fixed[8:]))
	if end > len(msg) {
		return record{}, 0, errShort
	}
	data, err := unpackData(msg, off, end, layouts[r.rtype].fields)
	if err != nil {
		return record{}, 0, fmt.Errorf("%s %s: %w", owner, typeName(r.rtype), err)
	}
	r.data = lowerNames(r.rtype, data)
	return r, end, nil
}

// unpackData gives RDATA with its names not compressed.
func unpackData(msg []byte, off, end int, fields string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(fields); i++ {
		size := 0
		switch f := fields[i]; f {
		case 'n':
			n, next, err := unpackName(msg, off)
			if err != nil || next > end {
				return "", errors.Join(errShort, err)
			}
			out.WriteString(string(n))
			off = next
		case '1', '2', '4':
			size = int(f - '0')
		case 's', 'g':
			if off >= end {
				return "", errShort
			}
			size = 1 + int(msg[off])
		default:
			size = end - off
		}
		if off+size > end {
			return "", errShort
		}
		out.Write(msg[off : off+size])
		off += size
	}
	if fields != "" && off != end {
		return "", errors.New("RDATA is longer than its fields")
	}
	out.Write(msg[off:end])
	return out.String(), nil
}

// unpackName reads a name. Pointers have to lead backwards, so that reading
// ends.
func unpackName(msg []byte, off int) (name, int, error) {
	var out []byte
	next, bound := -1, off
	for {
		if off >= len(msg) {
			return "", 0, errShort
		}
		switch n := int(msg[off]); {
		case n >= 0xc0:
			if off+1 >= len(msg) {
				return "", 0, errShort
			}
			to := (n&0x3f)<<8 | int(msg[off+1])
			if next < 0 {
				next = off + 2
			}
			if to >= bound {
				return "", 0, errors.New("a compression pointer that leads forward")
			}
			off, bound = to, to
		case n > maxLabel:
			return "", 0, errors.New("a label of an unknown kind")
		case off+1+n > len(msg) || len(out)+1+n > maxName:
			return "", 0, errors.New("a name that is too long")
		default:
			out = append(out, msg[off:off+1+n]...)
			off += 1 + n
			if n > 0 {
				continue
			}
			if next < 0 {
				next = off
			}
			return name(out), next, nil
		}
	}
}
