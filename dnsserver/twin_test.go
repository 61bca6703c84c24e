package dnsserver

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/config"
)

// twin answers once more by the recipe of RFC 1034 4.3.2, with RFC 2308, 4592,
// 6672 and 9471, slow and plain: a zone is a list of records, and every
// question about it is a look at each of them.
type twin struct {
	zones map[string][]dns.RR // by apex, lower case
	full  bool                // dns.minimalResponses is off
	tcp   bool                // ANY is answered whole

	rcode                         int
	aa                            bool
	answer, authority, additional []string
	anyOf                         [][]string // the answer to ANY over UDP ends with one of these sets (RFC 8482 4.1)
}

// at gives the records that a zone has at a name. No type means all.
func (w *twin) at(apex, name string, types ...uint16) (found []dns.RR) {
	for _, rr := range w.zones[apex] {
		if rr.Header().Name == name && (len(types) == 0 || slices.Contains(types, rr.Header().Rrtype)) {
			found = append(found, rr)
		}
	}
	return found
}

// exists: the name owns records, or a name below it does (RFC 4592 2.2.2).
func (w *twin) exists(apex, name string) bool {
	return slices.ContainsFunc(w.zones[apex], func(rr dns.RR) bool { return dns.IsSubDomain(name, rr.Header().Name) })
}

// zoneOf is step 2: the zone nearest to a name. DS belongs to the side above a
// cut, if that is here too and has the cut (RFC 4035 3.1.4.1).
func (w *twin) zoneOf(name string, qtype uint16) (nearest string) {
	for apex := range w.zones {
		if dns.IsSubDomain(apex, name) && len(apex) > len(nearest) {
			nearest = apex
		}
	}
	if qtype != dns.TypeDS || nearest != name {
		return nearest
	}
	_, above, _ := strings.Cut(name, ".")
	if above == "" {
		return nearest
	}
	if upper := w.zoneOf(above, dns.TypeA); upper != "" && upper != name && len(w.at(upper, name, dns.TypeNS)) > 0 {
		return upper
	}
	return nearest
}

// wayDown gives the apex, then each name on the way down, then the name itself.
func wayDown(apex, name string) (names []string) {
	labels := dns.SplitDomainName(name)
	for i := len(labels) - dns.CountLabel(apex); i >= 0; i-- {
		names = append(names, dns.Fqdn(strings.Join(labels[i:], ".")))
	}
	return names
}

// above looks for the first cut on the way to a name (step 3b), or DNAME above
// it (RFC 6672 3.2), from the top.
func (w *twin) above(apex, name string, qtype uint16) (owner string, rtype uint16) {
	for _, up := range wayDown(apex, name) {
		if up != apex && len(w.at(apex, up, dns.TypeNS)) > 0 && (up != name || qtype != dns.TypeDS) {
			return up, dns.TypeNS
		}
		if up != name && len(w.at(apex, up, dns.TypeDNAME)) > 0 {
			return up, dns.TypeDNAME
		}
	}
	return "", 0
}

// source gives the name whose records answer for a name: itself, or the
// wildcard at its closest encloser (step 3c, RFC 4592 3.3.1), or none.
func (w *twin) source(apex, name string) string {
	if w.exists(apex, name) {
		return name
	}
	star := ""
	for _, up := range wayDown(apex, name) {
		if w.exists(apex, up) {
			star = "*." + up
		}
	}
	if !w.exists(apex, star) {
		return ""
	}
	return star
}

func renamed(rrs []dns.RR, owner string) []string {
	list := make([]string, len(rrs))
	for i, rr := range rrs {
		rr = dns.Copy(rr)
		rr.Header().Name = owner
		list[i] = plainRecords([]dns.RR{rr})[0]
	}
	return list
}

func (w *twin) resolve(qname string, qtype uint16) {
	var seen, targets []string
	for name := qname; ; {
		apex := w.zoneOf(name, qtype)
		if apex == "" {
			if len(seen) == 0 {
				w.rcode = dns.RcodeRefused
			}
			return
		}
		seen = append(seen, name)
		next, more := w.step(apex, name, qtype)
		targets = append(targets, more...)
		if next == "" || len(seen) >= config.DefaultLimits().CNAMEChain || slices.Contains(seen, next) {
			break
		}
		name = next
	}
	for _, target := range targets {
		for _, rr := range w.addresses(target) {
			if !slices.Contains(w.answer, rr) {
				w.additional = append(w.additional, rr)
			}
		}
	}
}

// step looks for one name. It gives the name to go on with, if any, and those
// whose addresses help.
func (w *twin) step(apex, name string, qtype uint16) (next string, targets []string) {
	owner, stop := w.above(apex, name, qtype)
	switch stop {
	case dns.TypeNS:
		ns := w.at(apex, owner, dns.TypeNS)
		w.authority = plainRecords(ns)
		for _, rr := range ns { // RFC 9471: glue is what the zone says, and nothing is too deep for it
			if target := canonical(rr.(*dns.NS).Ns); dns.IsSubDomain(owner, target) {
				w.additional = append(w.additional, plainRecords(w.at(apex, target, dns.TypeA, dns.TypeAAAA))...)
			} else {
				targets = append(targets, target)
			}
		}
		return "", targets
	case dns.TypeDNAME:
		w.aa = true
		return w.rewrite(w.at(apex, owner, dns.TypeDNAME)[0].(*dns.DNAME), name, qtype), nil
	}
	w.aa = true
	source := w.source(apex, name)
	if source == "" {
		w.rcode = dns.RcodeNameError
	}
	if found := w.at(apex, source, qtype); source != "" && len(found) > 0 {
		return "", w.hit(apex, found, renamed(found, name))
	}
	all := w.at(apex, source)
	if source != "" && qtype == dns.TypeANY && len(all) > 0 && w.tcp {
		w.answer = append(w.answer, renamed(all, name)...)
		return "", targetsOf(all)
	}
	if source != "" && qtype == dns.TypeANY && len(all) > 0 {
		for _, rr := range all {
			w.anyOf = append(w.anyOf, renamed(w.at(apex, source, rr.Header().Rrtype), name))
		}
		return "", nil
	}
	if alias := w.at(apex, source, dns.TypeCNAME); source != "" && len(alias) > 0 {
		w.answer = append(w.answer, renamed(alias, name)...)
		return canonical(alias[0].(*dns.CNAME).Target), nil
	}
	soa := dns.Copy(w.at(apex, apex, dns.TypeSOA)[0]).(*dns.SOA)
	soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl) // RFC 2308 section 5
	w.authority = plainRecords([]dns.RR{soa})
	return "", nil
}

// rewrite is RFC 6672 3.2 and its YXDOMAIN.
func (w *twin) rewrite(d *dns.DNAME, name string, qtype uint16) string {
	w.answer = append(w.answer, plainRecords([]dns.RR{d})...)
	target := strings.TrimSuffix(name, d.Hdr.Name) + canonical(d.Target)
	if len(target)+1 > maxName { // no label here has an escape
		w.rcode = dns.RcodeYXDomain
		return ""
	}
	w.answer = append(w.answer, fmt.Sprintf("%s %d IN CNAME %s", name, d.Hdr.Ttl, target))
	if qtype == dns.TypeCNAME || qtype == dns.TypeANY || dns.IsSubDomain(d.Hdr.Name, canonical(d.Target)) {
		return "" // the answer is there, or would never end
	}
	return target
}

// hit ends with records, and in a full response with the zone's servers.
func (w *twin) hit(apex string, found []dns.RR, named []string) (targets []string) {
	w.answer = append(w.answer, named...)
	servers := w.at(apex, apex, dns.TypeNS)
	if w.full && !slices.Contains(w.answer, plainRecords(servers)[0]) {
		w.authority = plainRecords(servers)
		found = slices.Concat(found, servers)
	}
	return targetsOf(found)
}

func targetsOf(rrs []dns.RR) (targets []string) {
	for _, rr := range rrs {
		if target := targetOf(rr); target != "" {
			targets = append(targets, canonical(target))
		}
	}
	return targets
}

// addresses is step 6: what is known here of a name, glue included.
func (w *twin) addresses(name string) []string {
	apex := w.zoneOf(name, dns.TypeA)
	if apex == "" {
		return nil
	}
	source := name
	switch _, stop := w.above(apex, name, dns.TypeA); stop {
	case dns.TypeDNAME:
		return nil
	case 0:
		source = w.source(apex, name)
	}
	return renamed(w.at(apex, source, dns.TypeA, dns.TypeAAAA), name)
}

var (
	twinApexes = []string{"z.", "b.z.", "a.b.z.", "y."}
	twinLong   = strings.Repeat("l", 60)
	twinLabels = []string{"a", "b", "*", "c", "a", "b", "c", twinLong}
	twinTypes  = []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeMX, dns.TypeNS, dns.TypeCNAME, dns.TypeDNAME, dns.TypeDS, dns.TypeSRV}
)

// drawName draws a name of few labels, so that names meet.
func drawName(t *rapid.T, apex, what string) string {
	labels := rapid.SliceOfN(rapid.SampledFrom(twinLabels), 0, 3).Draw(t, what)
	return strings.Join(append(labels, apex), ".")
}

// drawZone draws a zone in which each name is an alias or holds other data.
func drawZone(t *rapid.T, apex string, apexes []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%[1]s 300 IN SOA ns.%[1]s root. 1 2 3 4 60\n%[1]s 300 IN NS %[2]s\n", apex, drawName(t, "z.", "server"))
	alias, other, dname := map[string]bool{}, map[string]bool{apex: true}, map[string]bool{}
	put := func(name string, rtype uint16, data string) {
		if alias[name] || rtype == dns.TypeCNAME && other[name] || rtype == dns.TypeDNAME && dname[name] {
			return
		}
		alias[name], other[name], dname[name] = rtype == dns.TypeCNAME, true, dname[name] || rtype == dns.TypeDNAME
		fmt.Fprintf(&b, "%s 300 IN %s %s\n", name, dns.TypeToString[rtype], data)
	}
	for _, child := range apexes { // most children are delegated
		if child != apex && dns.IsSubDomain(apex, child) && rapid.IntRange(0, 3).Draw(t, "delegated") > 0 {
			put(child, dns.TypeNS, drawName(t, child, "child's server"))
		}
	}
	for i := range rapid.IntRange(1, 10).Draw(t, "records") {
		name, target := drawName(t, apex, "owner"), drawName(t, rapid.SampledFrom(append(apexes, "x.")).Draw(t, "where"), "target")
		rtype := rapid.SampledFrom(twinTypes).Draw(t, "type")
		put(name, rtype, map[uint16]string{dns.TypeA: fmt.Sprintf("192.0.2.%d", i), dns.TypeAAAA: fmt.Sprintf("2001:db8::%d", i),
			dns.TypeTXT: fmt.Sprint("t", i), dns.TypeMX: "1 " + target, dns.TypeSRV: "1 2 3 " + target, dns.TypeDS: fmt.Sprintf("%d 13 2 00", i),
			dns.TypeNS: target, dns.TypeCNAME: target, dns.TypeDNAME: target}[rtype])
	}
	return b.String()
}

// mixed gives a name in a case drawn by bits.
func mixed(name string, bits uint64) string {
	out := []byte(name)
	for i, c := range out {
		if 'a' <= c && c <= 'z' && bits>>(i%64)&1 != 0 {
			out[i] = c - 'a' + 'A'
		}
	}
	return string(out)
}

// checkTwin draws zones, served together, and holds questions to the twin:
// rcode, AA and all three sections.
func checkTwin(t *rapid.T) {
	apexes := append([]string{"z."}, rapid.SliceOfNDistinct(rapid.SampledFrom(twinApexes[1:]), 0, 3, rapid.ID).Draw(t, "zones")...)
	full := rapid.Bool().Draw(t, "full")
	minimal := !full
	var zones []*Zone
	var texts []string
	known := map[string][]dns.RR{}
	for _, apex := range apexes {
		text := drawZone(t, apex, apexes)
		zone, _ := loadZone(zoneSource(text), &config.Zone{Name: apex, File: "zone"}) // odd zones too
		for _, n := range zone.nodes {
			for _, set := range n.sets {
				known[apex] = append(known[apex], set.rrs...)
			}
		}
		zones, texts = append(zones, zone), append(texts, text)
	}
	table := newTable(&config.DNS{MinimalResponses: &minimal}, zones...)
	for range 8 {
		name := drawName(t, rapid.SampledFrom(append(apexes, "x.")).Draw(t, "where"), "asked")
		if len(name)+1 > maxName {
			continue
		}
		qtype := rapid.SampledFrom(append(twinTypes, dns.TypeANY)).Draw(t, "qtype")
		asked := mixed(name, rapid.Uint64().Draw(t, "case"))
		q := newQuery(asked, qtype, question{})
		q.tcp = rapid.Bool().Draw(t, "tcp")
		slow := &twin{zones: known, full: full, tcp: q.tcp}
		slow.resolve(name, qtype)
		m := answer(table, q)
		if fault := slow.differs(m, asked); fault != "" {
			t.Fatalf("%s: %s %s, full=%v, in\n%s\n got %s\nwant %s AA=%v %q any of %q\n %q\n %q", fault, asked, dns.Type(qtype), full, strings.Join(texts, "\n"),
				shown(m), dns.RcodeToString[slow.rcode], slow.aa, slow.answer, slow.anyOf, slow.authority, slow.additional)
		}
	}
}

// differs says in what a reply is not the twin's.
func (w *twin) differs(m *dns.Msg, asked string) string {
	choices := w.anyOf
	if len(choices) == 0 {
		choices = [][]string{nil}
	}
	got := plainRecords(m.Answer)
	switch {
	case m.Rcode != w.rcode:
		return "rcode"
	case m.Authoritative != w.aa:
		return "AA"
	case !slices.ContainsFunc(choices, func(set []string) bool { return sameRecords(got, slices.Concat(w.answer, set)) }):
		return "answer"
	case !sameRecords(plainRecords(m.Ns), w.authority):
		return "authority"
	case len(w.anyOf) == 0 && !sameRecords(plainRecords(m.Extra), w.additional):
		return "additional"
	}
	for _, rr := range m.Answer { // RFC 4343 4.1 and 0x20
		if name := rr.Header().Name; strings.EqualFold(name, asked) && name != asked && rr.Header().Rrtype != dns.TypeDNAME {
			return "case of " + name
		}
	}
	return ""
}

func TestTwin(t *testing.T) { rapid.Check(t, checkTwin) }

// FuzzTwin is TestTwin with zones and questions that the fuzzer draws.
func FuzzTwin(f *testing.F) {
	kept(f)
	f.Fuzz(rapid.MakeFuzz(checkTwin))
}
