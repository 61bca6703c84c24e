package main

import (
	"fmt"
	"strings"
)

// at gives a name of the zone from text relative to it.
func (b *builder) at(text string) name {
	if text == "@" {
		return b.apex
	}
	n := b.apex
	labels := strings.Split(text, ".")
	for i := len(labels) - 1; i >= 0; i-- {
		n, _ = n.child(labels[i])
	}
	return n
}

// alias adds a CNAME; a target with a last dot is absolute.
func (b *builder) alias(owner, target string) { b.point(typeCNAME, owner, target) }

// point adds a record that is one name.
func (b *builder) point(rtype uint16, owner, target string) {
	to := parseName(target)
	if !strings.HasSuffix(target, ".") {
		to = b.at(target)
	}
	b.add(b.at(owner), rtype, string(to))
}

// hosts gives addresses to names.
func (b *builder) hosts(names ...string) {
	for _, n := range names {
		b.address(b.at(n))
	}
}

// mail and serve add MX and SRV records to hosts of the zone.
func (b *builder) mail(owner string, hosts ...string) {
	for i, h := range hosts {
		b.add(b.at(owner), typeMX, u16(10*i)+string(b.at(h)))
	}
}

func (b *builder) serve(owner string, port int, hosts ...string) {
	for i, h := range hosts {
		b.add(b.at(owner), typeSRV, u16(i)+u16(10)+u16(port)+string(b.at(h)))
	}
}

func (b *builder) strings(owner string, texts ...string) {
	for _, t := range texts {
		b.add(b.at(owner), typeTXT, str(t))
	}
}

// corporate is a zone such as a firm has.
func (g *generator) corporate() {
	b := g.zone("corp.example.", 0)
	b.hosts("@", "www", "mail1", "mail2", "vpn", "sip1", "sip2", "dc1.ad", "dc2.ad", "ns.dmz")
	b.mail("@", "mail1", "mail2")
	b.strings("@", "v=spf1 mx include:_spf.elsewhere.invalid -all", "google-site-verification=0123456789abcdef")
	b.strings("_dmarc", "v=DMARC1; p=reject; rua=mailto:postmaster@corp.example")
	b.strings("s1._domainkey", "v=DKIM1; k=rsa; p="+strings.Repeat("MIGf", 50))
	b.add(b.at("@"), typeCAA, "\x00"+str("issue")+"ca.example")
	b.serve("_sip._udp", 5060, "sip1", "sip2")
	b.serve("_ldap._tcp.ad", 389, "dc1.ad", "dc2.ad")
	b.serve("_kerberos._udp.ad", 88, "dc1.ad", "dc2.ad")
	b.alias("ftp", "www")
	b.alias("intranet", "www.sub")
	b.alias("cdn", "edge.elsewhere.invalid.")
	b.alias("*.apps", "lb.apps")
	b.hosts("lb.apps")
	b.mail("*", "mail1")
	b.hosts("*")
	b.add(b.at("www"), typeHTTPS, u16(1)+string(root)+u16(1)+u16(3)+str("h2"))
	b.add(b.at("_443._tcp.www"), typeTLSA, "\x03\x01\x01"+b.octets(32))
	b.add(b.at("vpn"), typeSSHFP, "\x04\x02"+b.octets(32))
	b.point(typeNS, "branch", "ns.branch")
	b.point(typeNS, "branch", "ns1")
	b.hosts("ns.branch")
	b.point(typeNS, "dmz", "ns.dmz")
	b.secure(b.at("dmz"))
	b.point(typeNS, "partner", "ns.elsewhere.invalid.")
	b.targets = append(b.targets, b.at("www"), b.at("cdn"), b.at("any.apps"), b.at("host.branch"), b.at("nothing.apps.x"))
}

// reverse are reverse zones, with a delegation of a part of a /24 by CNAME (RFC
// 2317) and with the nibbles of IPv6: many empty non-terminals.
func (g *generator) reverse() {
	b := g.zone("2.0.192.in-addr.arpa.", 0, parseName("ns1.corp.example."))
	for i := range 64 {
		b.point(typePTR, fmt.Sprint(i), fmt.Sprintf("host%d.corp.example.", i))
	}
	for i := 64; i < 96; i++ {
		b.alias(fmt.Sprint(i), fmt.Sprintf("%d.64-95", i))
	}
	b.point(typeNS, "64-95", "ns1.corp.example.")
	b.point(typeNS, "128-255", "ns.elsewhere.invalid.")
	v6 := g.zone("8.b.d.0.1.0.0.2.ip6.arpa.", 0, parseName("ns1.corp.example."), parseName("ns.elsewhere.invalid."))
	for range 20 {
		nibbles := make([]string, 24)
		for i := range nibbles {
			nibbles[i] = fmt.Sprintf("%x", v6.IntN(2))
		}
		v6.point(typePTR, strings.Join(nibbles, "."), "host.corp.example.")
	}
}

// wildcards is a zone of RFC 4592: wildcards at several depths, names that
// block them, empty non-terminals beside and below.
func (g *generator) wildcards() {
	b := g.zone("wild.test.", 0)
	b.strings("*", "depth 1")
	b.mail("*", "host")
	b.hosts("host", "sub.*", "*.deep.er", "x.y.deep.er", "ghost.*.deep.er")
	b.alias("*.alias", "host")
	b.alias("*.loop", "a.b.elsewhere.invalid.")
	b.alias("*.into", "x.deep.er")
	b.alias("*.down", "under.cut")
	b.strings("blocked.alias", "a name beside a wildcard")
	b.hosts("a.ent.alias")
	b.serve("_a._tcp.*", 1, "host")
	b.serve("_ssh._tcp.host1", 22, "host")
	b.point(typeNS, "cut", "ns.cut")
	b.hosts("ns.cut")
	b.add(b.at("*.any"), typeHTTPS, u16(1)+string(root)+u16(4)+u16(4)+"\xc0\x00\x02\x01")
	b.hosts("*.any")
	for _, n := range []string{"x", "a.b.alias", "y.into", "q.any", "z.down"} {
		b.targets = append(b.targets, b.at(n))
	}
}

// aliases has chains within the zone, through other zones and out of all of
// them; of every length to 20 and in circles, in a zone of their own.
func (g *generator) aliases() {
	b := g.zone("alias.test.", 0)
	b.hosts("host", "end")
	b.mail("end", "host")
	for i := range 5 {
		b.alias(fmt.Sprint("c", i), fmt.Sprint("c", i+1))
	}
	b.alias("c5", "end")
	b.alias("missing", "nothing.here")
	b.alias("tonodata", "@")
	b.alias("out", "www.elsewhere.invalid.")
	b.alias("tocut", "www.branch.corp.example.")
	b.alias("across", "ftp.corp.example.")
	b.alias("towild", "any.thing.wild.test.")
	b.alias("toent", "er.deep.wild.test.")
	for i := range 20 {
		b.add(b.at(fmt.Sprint("t", i)), typeCNAME, string(b.target()))
	}
	l := g.zone("loop.test.", hasLoop)
	l.alias("self", "self")
	l.alias("one", "two")
	l.alias("two", "one")
	l.alias("tail", "one")
	l.alias("*.wild", "x.wild")
	for i := range 19 {
		l.alias(fmt.Sprint("c", i), fmt.Sprint("c", i+1))
	}
	l.hosts("c19")
	for i := range 10 {
		l.alias(fmt.Sprint("z", i), fmt.Sprintf("z%d.chain.test.", i))
	}
	c := g.zone("chain.test.", hasLoop)
	for i := range 10 {
		c.alias(fmt.Sprint("z", i), fmt.Sprintf("z%d.loop.test.", i+1))
	}
	c.hosts("host")
}

// dnames is a zone of RFC 6672: DNAMEs to the same zone, to others and out,
// chains and circles of them, and targets that make names too long.
func (g *generator) dnames() {
	b := g.zone("dname.test.", hasDNAME|hasLoop)
	b.hosts("www.new", "x.new", "host")
	b.alias("alias.new", "www.new")
	b.alias("into", "www.old")
	b.alias("*.wild", "x.old")
	b.point(typeDNAME, "old", "new")
	b.strings("old", "beside the DNAME")
	b.point(typeDNAME, "chain", "old")
	b.point(typeDNAME, "self", "self")
	b.point(typeDNAME, "deeper", "a.deeper")
	b.point(typeDNAME, "one", "two")
	b.point(typeDNAME, "two", "one")
	b.point(typeDNAME, "out", "elsewhere.invalid.")
	b.point(typeDNAME, "across", "corp.example.")
	b.point(typeDNAME, "tocut", "branch.corp.example.")
	b.point(typeDNAME, "towild", "alias.wild.test.")
	b.point(typeDNAME, "toroot", ".")
	long := b.at("long")
	for range 3 {
		long, _ = long.child(strings.Repeat("x", 60))
	}
	b.add(b.at("grow"), typeDNAME, string(long))
	b.hosts("a.b.new")
	apex := g.zone("apexdname.test.", hasDNAME, parseName("ns1.corp.example."))
	apex.point(typeDNAME, "@", "wild.test.")
	apex.strings("@", "data beside a DNAME at the apex")
	b.targets = append(b.targets, b.at("www.old"), b.at("a.chain"), b.at("x.out"), apex.at("q.alias"))
}

// large has sets that do not fit 512, 1232 or 4096 octets, and delegations
// whose glue does not.
func (g *generator) large() {
	b := g.zone("big.test.", 0)
	for i := range 60 {
		b.add(b.at("sixty"), typeA, b.v4())
		b.add(b.at("ninety"), typeAAAA, b.v6())
		if i%2 == 0 {
			b.add(b.at("thirty"), typeA, b.v4())
			b.add(b.at("ninety"), typeAAAA, b.v6())
		}
	}
	for i := range 20 {
		host := fmt.Sprint("mx", i)
		b.hosts(host)
		b.mail("mail", host)
		if i < 4 {
			b.mail("mail4", host)
		}
		ns := fmt.Sprintf("ns%d.cut", i)
		b.point(typeNS, "cut", ns)
		b.hosts(ns)
		if i < 9 {
			b.point(typeNS, "cut9", fmt.Sprintf("ns%d.cut9", i))
			b.hosts(fmt.Sprintf("ns%d.cut9", i))
			b.point(typeNS, "sibling", host)
		}
	}
	b.secure(b.at("cut"))
	for i := range 12 {
		b.strings("text", fmt.Sprint(i, strings.Repeat(" text", 45)))
	}
	b.strings("text4", strings.Repeat("a", 250), strings.Repeat("b", 200))
	b.alias("tosixty", "sixty")
	b.hosts("*.stars")
	for range 40 {
		b.add(b.at("*.stars"), typeAAAA, b.v6())
	}
	h := g.zone("huge.test.", hasHuge)
	for i := range 40 {
		h.add(h.at("many"), typeTXT, strings.Repeat(str(fmt.Sprint(i, strings.Repeat(" huge", 45))), 4))
	}
	for i := range 1000 {
		h.add(h.at("hosts"), typeA, string([]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	for i := range 300 {
		h.mail("mail", fmt.Sprintf("a-host-with-a-long-name-%d", i))
	}
	h.hosts("a-host-with-a-long-name-1", "a-host-with-a-long-name-2")
	b.targets = append(b.targets, b.at("sixty"), b.at("mail"), b.at("x.stars"))
}

// odd has labels of any octets, labels and names as long as they may be, and
// data in generic form.
func (g *generator) odd() {
	b := g.zone("odd.test.", hasOdd)
	for _, label := range []string{"a.b", "sp ace", `back\slash`, `"quoted"`, "semi;colon", "at@sign", "$dollar", "(paren)", "\x00nul", "\xff\xfe",
		"UPPER", "under_score", "-dash-", "tab\t", "new\nline", "**", "*a", "1", "@"} {
		n, _ := b.apex.child(label)
		b.address(n)
		b.add(n, typeTXT, str(label))
		b.targets = append(b.targets, n)
	}
	full := strings.Repeat("x", maxLabel)
	b.hosts(full, full+"."+full+"."+full)
	last := maxName - len(b.at(full+"."+full+"."+full)) - 1
	b.hosts(strings.Repeat("y", last) + "." + full + "." + full + "." + full)
	b.alias("tolong", strings.Repeat("y", last)+"."+full+"."+full+"."+full)
	deep := strings.TrimSuffix(strings.Repeat("d.", (maxName-len(b.apex))/2), ".")
	b.hosts(deep)
	b.strings("*."+strings.Repeat("e.", 50)+"e", "a deep wildcard")
	b.hosts("x.*.middle", "*.*.stars", "MiXeD.CaSe")
	b.alias("lower", "mixed.case")
	b.alias("CAPS", "MIXED.CASE")
	for i := range 5 {
		b.add(b.at("generic"), firstAlien+uint16(i), b.octets(i*i))
	}
	b.add(b.at("generic"), firstAlien, "")
	b.add(b.at("generic"), firstAlien+9, b.octets(600))
}

// rootZone is the root: it delegates top-level domains, of which one is served
// here too, and some have zones below them that are.
func (g *generator) rootZone() {
	b := g.zone(".", isRoot, parseName("a.root-servers.net."), parseName("b.root-servers.net."))
	for _, tld := range []string{"arpa", "com", "example", "net", "test", "zz"} {
		b.point(typeNS, tld, "a.nic."+tld)
		b.hosts("a.nic." + tld)
	}
	b.secure(parseName("com."))
	b.strings("text", "data in the root zone")
}
