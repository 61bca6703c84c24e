package dnsserver

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/config"
)

// twin is the recipe of RFC 1034 4.3.2 once more, slow and plain: a zone is a
// list of records, and every question about it is a look at each of them.
type twin struct {
	apex string
	rrs  []dns.RR

	rcode             int
	aa                bool
	answer, authority []string
}

func (w *twin) at(name string, rtype uint16) (found []dns.RR) {
	for _, rr := range w.rrs {
		if strings.EqualFold(rr.Header().Name, name) && rr.Header().Rrtype == rtype {
			found = append(found, rr)
		}
	}
	return found
}

// exists: the name owns records, or a name below it does (RFC 4592 2.2.2).
func (w *twin) exists(name string) bool {
	return slices.ContainsFunc(w.rrs, func(rr dns.RR) bool { return dns.IsSubDomain(name, rr.Header().Name) })
}

// upTo gives the apex, then each name on the way down, then the name itself.
func (w *twin) upTo(name string) (path []string) {
	labels := dns.SplitDomainName(name)
	for i := len(labels) - dns.CountLabel(w.apex); i >= 0; i-- {
		path = append(path, dns.Fqdn(strings.Join(labels[i:], ".")))
	}
	return path
}

func (w *twin) put(rrs []dns.RR, owner string) {
	for _, rr := range rrs {
		rr = dns.Copy(rr)
		rr.Header().Name = owner
		w.answer = append(w.answer, plainRecords([]dns.RR{rr})...)
	}
}

func (w *twin) negative() {
	w.authority = plainRecords(w.at(w.apex, dns.TypeSOA))
}

func (w *twin) resolve(qname string, qtype uint16) {
	var seen []string
	for name := qname; dns.IsSubDomain(w.apex, name); {
		if len(seen) >= config.DefaultLimits().CNAMEChain || slices.Contains(seen, name) {
			return
		}
		seen = append(seen, name)
		next := w.step(name, qtype)
		if next == "" {
			return
		}
		name = next
	}
}

// step looks for one name and gives the name to go on with, if any.
func (w *twin) step(name string, qtype uint16) string {
	for _, up := range w.upTo(name) { // 3b and DNAME, from the top
		if ns := w.at(up, dns.TypeNS); up != w.apex && len(ns) > 0 && (up != name || qtype != dns.TypeDS) {
			w.authority = plainRecords(ns)
			return ""
		}
		if d := w.at(up, dns.TypeDNAME); len(d) > 0 && up != name {
			w.aa = true
			w.put(d, up)
			target := strings.TrimSuffix(name, up) + d[0].(*dns.DNAME).Target
			w.put([]dns.RR{&dns.CNAME{Hdr: header(name, dns.TypeCNAME, d[0].Header().Ttl), Target: target}}, name)
			if qtype == dns.TypeCNAME || dns.IsSubDomain(up, d[0].(*dns.DNAME).Target) {
				return "" // the answer is there, or would never end
			}
			return target
		}
	}
	w.aa = true
	source := name
	if !w.exists(name) { // 3c: the wildcard at the closest encloser
		for _, up := range w.upTo(name) {
			if w.exists(up) {
				source = "*." + up
			}
		}
		if !w.exists(source) {
			w.rcode = dns.RcodeNameError
			w.negative()
			return ""
		}
	}
	if found := w.at(source, qtype); len(found) > 0 {
		w.put(found, name)
		return ""
	}
	if alias := w.at(source, dns.TypeCNAME); len(alias) > 0 {
		w.put(alias, name)
		return alias[0].(*dns.CNAME).Target
	}
	w.negative()
	return ""
}

var twinTypes = []uint16{dns.TypeA, dns.TypeTXT, dns.TypeMX, dns.TypeNS, dns.TypeCNAME, dns.TypeDNAME, dns.TypeDS}

// drawName draws a name of few labels, so that names meet.
func drawName(t *rapid.T, what string) string {
	labels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*", "c"}), 0, 3).Draw(t, what)
	return strings.Join(append(labels, "z."), ".")
}

// drawZone draws a zone in which each name is an alias or holds other data.
func drawZone(t *rapid.T) string {
	var b strings.Builder
	b.WriteString("z. 300 IN SOA ns.z. root.z. 1 2 3 4 300\nz. 300 IN NS ns.other.\n")
	alias, other := map[string]bool{}, map[string]bool{"z.": true}
	for i := range rapid.IntRange(1, 10).Draw(t, "records") {
		name, target := drawName(t, "owner"), drawName(t, "target")
		rtype := rapid.SampledFrom(twinTypes).Draw(t, "type")
		data := map[uint16]string{dns.TypeA: fmt.Sprintf("192.0.2.%d", i), dns.TypeTXT: fmt.Sprint("t", i), dns.TypeMX: "1 " + target,
			dns.TypeNS: target, dns.TypeCNAME: target, dns.TypeDNAME: target, dns.TypeDS: fmt.Sprintf("%d 13 2 00", i)}[rtype]
		single := rtype == dns.TypeCNAME || rtype == dns.TypeDNAME && strings.Contains(b.String(), name+" 300 IN DNAME")
		if alias[name] || single && other[name] {
			continue
		}
		alias[name], other[name] = rtype == dns.TypeCNAME, true
		fmt.Fprintf(&b, "%s 300 IN %s %s\n", name, dns.TypeToString[rtype], data)
	}
	return b.String()
}

func TestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawZone(t)
		src := config.Source{FS: fstest.MapFS{"zone": {Data: []byte(text)}}, Dir: "."}
		zone, _ := loadZone(src, &config.Zone{Name: "z.", File: "zone"}) // odd zones too
		table := newTable(&config.DNS{}, zone)
		var rrs []dns.RR
		for _, n := range zone.nodes {
			for _, set := range n.sets {
				rrs = append(rrs, set.rrs...)
			}
		}
		for range 8 {
			name := drawName(t, "asked")
			qtype := rapid.SampledFrom(twinTypes).Draw(t, "qtype")
			slow := &twin{apex: "z.", rrs: rrs}
			slow.resolve(name, qtype)
			m := answer(table, newQuery(name, qtype, question{}))
			if m.Rcode != slow.rcode || m.Authoritative != slow.aa ||
				!sameRecords(plainRecords(m.Answer), slow.answer) || !sameRecords(plainRecords(m.Ns), slow.authority) {
				t.Fatalf("%s %s in\n%s\n got %s\nwant %s AA=%v %q %q", name, dns.Type(qtype), text, shown(m),
					dns.RcodeToString[slow.rcode], slow.aa, slow.answer, slow.authority)
			}
		}
	})
}
