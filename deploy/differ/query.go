package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
)

// query is one question as every server gets it.
type query struct {
	number int
	name   name
	rtype  uint16
	class  uint16
	opcode int
	flags  uint16 // of the header: RD, AD, CD, and those that a query should not have
	edns   *ednsQuery
	tcp    bool
}

// ednsQuery is a query's OPT record.
type ednsQuery struct {
	size    uint16
	version uint8
	do      bool
	z       uint16
	option  uint16 // one option, or 0
}

// Options that are sent.
const (
	optionNSID      = 3
	optionECS       = 8
	optionCookie    = 10
	optionKeepalive = 11
	optionEDE       = 15
	optionUnknown   = 65001 // for local use (RFC 6891 9)
)

func (q *query) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", q.name, typeName(q.rtype))
	if q.class != classIN {
		fmt.Fprintf(&b, " class %d", q.class)
	}
	if q.opcode != 0 {
		fmt.Fprintf(&b, " opcode %d", q.opcode)
	}
	b.WriteString(flagWords(q.flags))
	if e := q.edns; e != nil {
		fmt.Fprintf(&b, " edns%d=%d", e.version, e.size)
		if e.do {
			b.WriteString(" do")
		}
		if e.z != 0 {
			fmt.Fprintf(&b, " z=%#x", e.z)
		}
		if e.option != 0 {
			fmt.Fprintf(&b, " option=%d", e.option)
		}
	}
	if q.tcp {
		b.WriteString(" tcp")
	}
	return b.String()
}

func flagWords(flags uint16) string {
	var b strings.Builder
	for _, f := range []struct {
		bit  uint16
		word string
	}{{flagAA, " aa"}, {flagTC, " tc"}, {flagRD, " rd"}, {flagRA, " ra"}, {flagZ, " z"}, {flagAD, " ad"}, {flagCD, " cd"}} {
		if flags&f.bit != 0 {
			b.WriteString(f.word)
		}
	}
	return b.String()
}

// question gives the octets of the question section.
func (q *query) question() string {
	return string(q.name) + u16(int(q.rtype)) + u16(int(q.class))
}

// message packs the query.
func (q *query) message(id uint16) []byte {
	msg := binary.BigEndian.AppendUint16(nil, id)
	msg = binary.BigEndian.AppendUint16(msg, uint16(q.opcode)<<11|q.flags)
	msg = append(msg, 0, 1, 0, 0, 0, 0, 0, 0)
	msg = append(msg, q.question()...)
	if q.edns == nil {
		return msg
	}
	msg[11] = 1
	flags := q.edns.z
	if q.edns.do {
		flags |= 0x8000
	}
	data := q.edns.data()
	msg = append(msg, 0, 0, typeOPT)
	msg = append(msg, u16(int(q.edns.size))...)
	msg = append(msg, 0, q.edns.version)
	msg = append(msg, u16(int(flags))...)
	return append(msg, u16(len(data))+data...)
}

func (e *ednsQuery) data() string {
	value := ""
	switch e.option {
	case 0:
		return ""
	case optionECS:
		value = "\x00\x01\x18\x00\xc0\x00\x02"
	case optionCookie:
		value = "cookie!!"
	case optionUnknown:
		value = "data"
	}
	return u16(int(e.option)) + u16(len(value)) + value
}

// limit gives the octets that a reply may have, of a server that sends no more
// than udpSize by UDP.
func (q *query) limit() int {
	switch {
	case q.tcp:
		return 65535
	case q.edns == nil:
		return 512
	}
	return min(max(int(q.edns.size), 512), udpSize)
}

// asker makes queries from a seed: the same seed and world, the same queries.
type asker struct {
	*rand.Rand
	*world
	records []record // of all zones: more queries go where more is
	apexes  []name
	zones   [][]name // owners, by zone: every zone gets its share too
	next    int
}

func newAsker(w *world) *asker {
	a := &asker{Rand: rand.New(rand.NewPCG(w.seed, 2)), world: w}
	for _, z := range w.zones {
		if z.traits&hasHuge == 0 { // many records, little to find
			a.records = append(a.records, z.records...)
		}
		a.apexes = append(a.apexes, z.apex)
		a.zones = append(a.zones, z.owners())
	}
	return a
}

// query makes the next query.
func (a *asker) query() *query {
	q := &query{number: a.next, class: classIN}
	a.next++
	q.name, q.rtype = a.subject()
	if chance(a.Rand, 25) {
		q.name = a.randomCase(q.name)
	}
	q.tcp = chance(a.Rand, 10)
	a.decorate(q)
	return q
}

// subject makes the name and the type: a third of what is there, the rest of
// what is close to it.
func (a *asker) subject() (name, uint16) {
	r := pick(a.Rand, a.records)
	n := r.owner
	if chance(a.Rand, 40) {
		n = pick(a.Rand, pick(a.Rand, a.zones))
	}
	switch a.IntN(12) {
	case 0:
		n = a.near(n)
	case 1:
		n = n.under(a.label())
	case 2:
		n = n.under(a.label(), a.label())
	case 3, 4:
		n = a.unstar(n)
	case 5:
		n = n.parent()
	case 6:
		if names := namesOf(r.rtype, r.data); len(names) > 0 {
			n = pick(a.Rand, names)
		}
		if chance(a.Rand, 30) {
			n = n.under(a.label())
		}
	case 7:
		n = a.outside()
	}
	return n, a.rtype(r)
}

func (a *asker) label() string {
	switch a.IntN(12) {
	case 0:
		return strings.Repeat("l", 1+a.IntN(maxLabel))
	case 1:
		return string([]byte{byte(a.Uint32()), byte(a.Uint32())})
	}
	return pick(a.Rand, alphabet)
}

// near changes a name a little: another first label, a label more in the
// middle, one less, or one octet.
func (a *asker) near(n name) name {
	switch first := n.first(); a.IntN(4) {
	case 0:
		return n.parent().under(a.label())
	case 1:
		return n.parent().under(first+"x", a.label())
	case 2:
		return n.parent().parent().under(first + "x")
	default:
		changed := []byte(first + "0")
		changed[a.IntN(len(changed))] = byte('a' + a.IntN(3))
		return n.parent().under(string(changed))
	}
}

// unstar asks for what a wildcard covers: each * is one label or some.
func (a *asker) unstar(n name) name {
	var labels []string
	for up := n; up != root; up = up.parent() {
		label := up.first()
		if label == "*" {
			for range a.IntN(2) {
				labels = append(labels, a.label())
			}
			label = a.label()
		}
		labels = append(labels, label)
	}
	return root.under(labels...)
}

// outside gives names of nobody, names above the zones, and names so long that
// a DNAME makes them too long.
func (a *asker) outside() name {
	switch apex := pick(a.Rand, a.apexes); a.IntN(4) {
	case 0:
		return parseName("www.elsewhere.invalid.")
	case 1:
		return apex.parent()
	case 2:
		return apex.parent().under(a.label())
	default:
		n := pick(a.Rand, pick(a.Rand, a.zones))
		for {
			longer, ok := n.child(strings.Repeat("l", 1+a.IntN(maxLabel)))
			if !ok {
				return n
			}
			n = longer
		}
	}
}

var askedTypes = append([]uint16{typeA, typeA, typeA, typeAAAA, typeAAAA, typeNS, typeNS, typeCNAME, typeSOA, typeDNAME, typeDS, typeDS,
	typeANY, 47, 48, 46, 50, typeHINFO}, dataTypes...)

// rtype gives the type of the record, one that is asked often, or any number.
func (a *asker) rtype(r record) uint16 {
	switch n := a.IntN(100); {
	case n < 40:
		return r.rtype
	case n < 60:
		return typeA
	case n < 95:
		return pick(a.Rand, askedTypes)
	case n < 97:
		return firstMeta + uint16(a.IntN(typeANY+1-firstMeta))
	default:
		return uint16(a.Uint32())
	}
}

func (a *asker) randomCase(n name) name {
	folded := []byte(n)
	for i, c := range folded {
		if ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') && chance(a.Rand, 50) {
			folded[i] = c ^ 0x20
		}
	}
	return name(folded)
}

// decorate adds EDNS and flags, and in one query of a hundred what queries
// seldom have: another opcode or class, a flag of replies, a bad version.
func (a *asker) decorate(q *query) {
	for _, f := range []uint16{flagRD, flagAD, flagCD} {
		if chance(a.Rand, 20) {
			q.flags |= f
		}
	}
	if !chance(a.Rand, 30) {
		q.edns = &ednsQuery{size: pick(a.Rand, []uint16{512, 1232, 1232, 4096, 4096}), do: chance(a.Rand, 40)}
		if chance(a.Rand, 5) {
			q.edns.size = pick(a.Rand, []uint16{0, 100, 511, 513, 600, 800, 1000, 1400, 65535})
		}
		if chance(a.Rand, 4) {
			q.edns.option = pick(a.Rand, []uint16{optionNSID, optionECS, optionCookie, optionUnknown})
		}
	}
	if !chance(a.Rand, 2) {
		return
	}
	switch a.IntN(6) {
	case 0:
		q.opcode = 1 + a.IntN(15)
	case 1:
		q.class = pick(a.Rand, []uint16{0, classCH, classHS, classNONE, classANY, 2, uint16(a.Uint32())})
	case 2:
		q.name, q.rtype, q.class = parseName(pick(a.Rand, []string{"version.bind.", "id.server.", "hostname.bind."})), typeTXT, classCH
	case 3:
		q.flags |= pick(a.Rand, []uint16{flagAA, flagTC, flagRA, flagZ})
	case 4:
		if q.edns != nil {
			q.edns.version = uint8(1 + a.IntN(255))
		}
	default:
		if q.edns != nil {
			q.edns.z = uint16(1 + a.IntN(0x7fff))
		}
	}
}
