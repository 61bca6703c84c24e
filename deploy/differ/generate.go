package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// generator makes zones from a seed: the same seed, the same zones.
type generator struct {
	*rand.Rand
	zones   []*zone
	targets []name // that data point to: those that are there, those that are not, and those elsewhere
}

// alphabet is short, so that names that are close to each other are many.
var alphabet = []string{"a", "b", "c", "*", "a", "b", "www", "ns", "x-1", "_tcp"}

func pick[T any](g *rand.Rand, list []T) T { return list[g.IntN(len(list))] }

// chance is true in so many of a hundred cases.
func chance(g *rand.Rand, percent int) bool { return g.IntN(100) < percent }

// generate makes the world of a seed. A third of the worlds has the root zone,
// under which no name is out of all zones.
func generate(seed uint64) *world {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	g.corporate()
	g.reverse()
	g.wildcards()
	g.aliases()
	g.dnames()
	g.large()
	g.odd()
	g.family("zz.", "a.zz.", "b.a.zz.", "c.b.a.zz.", "d.e.zz.")
	g.family("Mixed.Case.example.", "sub.mixed.case.example.")
	g.random("r1.test.", 90, 0)
	g.random("r2.test.", 90, hasDNAME)
	g.random("r3.test.", 60, hasDNAME|hasOdd)
	if seed%3 == 0 {
		g.rootZone()
	}
	return newWorld(seed, g.zones)
}

// builder fills one zone.
type builder struct {
	*generator
	*zone
	sets map[name]map[uint16]uint32 // TTL of each set: one for all its records (RFC 2181 5.2)
	seen map[record]bool            // canonical records
	ttls []uint32
}

// zone starts a zone with its SOA and NS. The TTL of negative answers is
// bounded now by the SOA's own TTL, now by its minimum.
func (g *generator) zone(apex string, traits trait, servers ...name) *builder {
	z := &zone{apex: parseName(apex), traits: traits, has: map[name]bool{}}
	g.zones = append(g.zones, z)
	b := &builder{generator: g, zone: z, sets: map[name]map[uint16]uint32{}, seen: map[record]bool{},
		ttls: []uint32{5, 60, 300, 3600, 86400, 604800}}
	if traits&hasOdd != 0 {
		b.ttls = append(b.ttls, 0, 1<<31-1)
	}
	b.add(z.apex, typeSOA, string(z.apex.under("ns1"))+string(z.apex.under("hostmaster"))+
		u32(2026010100+uint32(g.IntN(100)))+u32(7200)+u32(1800)+u32(1209600)+u32(pick(g.Rand, []uint32{60, 900, 86400})))
	if len(servers) == 0 {
		servers = []name{z.apex.under("ns1"), z.apex.under("ns2"), parseName("ns.elsewhere.invalid.")}
	}
	for _, s := range servers {
		b.add(z.apex, typeNS, string(s))
		if s.in(z.apex) {
			b.address(s)
		}
	}
	return b
}

func u16(n int) string    { return string(binary.BigEndian.AppendUint16(nil, uint16(n))) }
func u32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }

// str makes a character string.
func str(s string) string { return rune1(len(s)) + s }

// add puts a record into the zone, unless it is there.
func (b *builder) add(owner name, rtype uint16, data string) {
	key := owner.lower()
	if b.sets[key] == nil {
		b.sets[key] = map[uint16]uint32{}
	}
	ttl, ok := b.sets[key][rtype]
	if !ok {
		ttl = pick(b.Rand, b.ttls)
		b.sets[key][rtype] = ttl
	}
	r := record{owner: owner, rtype: rtype, ttl: ttl, data: data, class: classIN}
	if b.seen[r.canonical()] {
		return
	}
	b.seen[r.canonical()] = true
	b.records = append(b.records, r)
	for up := key; up.in(b.apex.lower()); up = up.parent() {
		b.has[up] = true
		if up == root {
			return
		}
	}
}

func (b *builder) owns(n name, rtype uint16) bool {
	_, ok := b.sets[n.lower()][rtype]
	return ok
}

// free says whether a name may get records of its own: no alias stands there,
// and no cut or DNAME at or above it.
func (b *builder) free(n name) bool {
	if b.owns(n, typeCNAME) {
		return false
	}
	for up := n.lower(); up != b.apex.lower(); up = up.parent() {
		if b.owns(up, typeNS) || b.owns(up, typeDNAME) && up != n.lower() {
			return false
		}
	}
	return !b.owns(b.apex, typeDNAME) || n.lower() == b.apex.lower()
}

// v4 and v6 give addresses of the documentation networks.
func (b *builder) v4() string {
	return string([]byte{192, 0, 2, byte(b.IntN(256))})
}

func (b *builder) v6() string {
	return "\x20\x01\x0d\xb8" + u32(0) + u32(b.Uint32N(9)) + u32(b.Uint32())
}

// address gives a name one or two addresses, of one family or both.
func (b *builder) address(n name) {
	if !chance(b.Rand, 15) {
		b.add(n, typeA, b.v4())
	} else {
		b.add(n, typeAAAA, b.v6())
	}
	if chance(b.Rand, 40) {
		b.add(n, typeAAAA, b.v6())
	}
	if chance(b.Rand, 30) && b.owns(n, typeA) {
		b.add(n, typeA, b.v4())
	}
}

// target gives a name for data to point to.
func (b *builder) target() name {
	switch b.IntN(10) {
	case 0:
		return b.apex
	case 1:
		return b.apex.under(pick(b.Rand, alphabet), pick(b.Rand, alphabet))
	case 2:
		return parseName("host.elsewhere.invalid.")
	case 3, 4:
		if len(b.targets) > 0 {
			return pick(b.Rand, b.targets)
		}
	}
	return pick(b.Rand, b.records).owner
}

// family makes a zone and those below it, each delegated by the one above,
// with glue of every kind: below the cut, beside it, elsewhere and missing.
func (g *generator) family(apexes ...string) {
	var all []*builder
	for _, apex := range apexes {
		b := g.zone(apex, 0)
		b.fill(25)
		all = append(all, b)
	}
	for i, child := range all[1:] {
		above := all[0]
		for _, b := range all[:i+1] {
			if child.apex.lower().in(b.apex.lower()) && b.apex.labels() > above.apex.labels() {
				above = b
			}
		}
		above.delegateTo(child)
	}
}

// delegateTo delegates to a zone that is served here too, with the same name
// servers and addresses.
func (b *builder) delegateTo(child *builder) {
	b.clear(child.apex)
	for _, r := range child.records {
		if r.rtype == typeNS && r.owner == child.apex {
			b.add(r.owner, typeNS, r.data)
		}
	}
	for _, r := range child.records {
		if (r.rtype == typeA || r.rtype == typeAAAA) && b.isServer(child.apex, r.owner) {
			b.sets[r.owner.lower()] = nil // the TTL of the zone below
			b.add(r.owner, r.rtype, r.data)
		}
	}
	if chance(b.Rand, 50) {
		b.secure(child.apex)
	}
}

func (b *builder) isServer(cut, server name) bool {
	for _, r := range b.records {
		if r.rtype == typeNS && r.owner == cut && r.data == string(server) {
			return true
		}
	}
	return false
}

// clear takes away what stands at a name and below it.
func (b *builder) clear(n name) {
	var kept []record
	for _, r := range b.records {
		if r.owner.lower().in(n.lower()) {
			delete(b.sets, r.owner.lower())
			delete(b.seen, r.canonical())
		} else {
			kept = append(kept, r)
		}
	}
	b.records = kept
}

// secure gives a delegation a DS record.
func (b *builder) secure(cut name) {
	digest := make([]byte, 32)
	for i := range digest {
		digest[i] = byte(b.Uint32())
	}
	b.add(cut, typeDS, u16(b.IntN(1<<16))+"\x0d\x02"+string(digest))
}

// delegate makes a cut to servers that are below it, beside it, in another
// zone of this world, or elsewhere.
func (b *builder) delegate(cut name) {
	for range 1 + b.IntN(3) {
		var server name
		switch b.IntN(5) {
		case 0, 1:
			server, _ = cut.child(fmt.Sprint("ns", b.IntN(3)))
		case 2:
			server = cut.parent().under("glue", pick(b.Rand, alphabet[:3]))
		case 3:
			server = parseName("ns.elsewhere.invalid.")
		default:
			server = cut
		}
		b.add(cut, typeNS, string(server))
		if server.in(cut) || server.in(b.apex) && b.free(server) {
			b.address(server)
		}
	}
	if chance(b.Rand, 30) {
		b.secure(cut)
	}
}

// random makes a zone of names that a short alphabet makes.
func (g *generator) random(apex string, names int, traits trait) { g.zone(apex, traits).fill(names) }

// fill puts names into a zone: first those that others may point to, then the
// rest.
func (b *builder) fill(names int) {
	for i := range names {
		at := b.apex
		for range 1 + b.IntN(1+b.IntN(5)) {
			at, _ = at.child(pick(b.Rand, alphabet))
		}
		if chance(b.Rand, 20) && i > 0 {
			at = pick(b.Rand, b.records).owner.under(pick(b.Rand, alphabet))
		}
		if b.free(at) {
			b.role(at)
		}
	}
	for _, r := range b.records {
		if chance(b.Rand, 20) {
			b.targets = append(b.targets, r.owner, r.owner.under(pick(b.Rand, alphabet)))
		}
	}
}

// role gives a name what a name may have.
func (b *builder) role(n name) {
	alone := len(b.sets[n.lower()]) == 0
	leaf := !b.has[n.lower()]
	switch role := b.IntN(20); {
	case role < 5 && alone:
		b.add(n, typeCNAME, string(b.target()))
	case role < 8 && alone && leaf && n.first() != "*":
		b.delegate(n)
	case role < 9 && leaf && alone && n.first() != "*" && b.traits&hasDNAME != 0:
		b.add(n, typeDNAME, string(b.target()))
	case role < 13:
		b.address(n)
	default:
		for range 1 + b.IntN(3) {
			b.other(n)
		}
	}
}

// other adds a record of any type but those that change how names are found.
func (b *builder) other(n name) {
	rtype := pick(b.Rand, dataTypes)
	b.add(n, rtype, b.data(rtype))
}
