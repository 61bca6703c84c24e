package probe

import (
	"cmp"
	"net/netip"
	"reflect"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// Plan is what should be probed, and what follows from it. [Compile] makes it;
// nobody changes it afterwards.
type Plan struct {
	Checks   []Check   // in the order of the configuration, each once
	Verdicts []Verdict // one for each thing that owns a row
}

// Check is one probe of one target from one source, made once however many
// refer to it.
type Check struct {
	// ID is probe/TARGET/PROBE, of a DNS server that is asked over tcp, tls or
	// https probe/tls:TARGET/PROBE; of a link's probes probe/TARGET@LINK/PROBE where
	// the link has an interface or a mark, probe/TARGET@SOURCE/PROBE where it has
	// a source address alone.
	ID     status.ID
	Target netip.AddrPort
	Pin    Pin          // the link's; its source is the probe's own if that has one
	Probe  config.Probe // its Pos is zero: moving a line changes no check

	Transport Transport // of kind dns and a DNS server
}

// equal says whether two checks would do the same.
func (c *Check) equal(o *Check) bool {
	return c.ID == o.ID && c.Target == o.Target && c.Pin == o.Pin && c.Transport == o.Transport && reflect.DeepEqual(&c.Probe, &o.Probe)
}

// sameQuestion says whether two checks ask the same of the same target, be it
// at other times and with other counts: then what is known stays true.
func (c *Check) sameQuestion(o *Check) bool {
	b := *o
	b.Probe.Interval, b.Probe.Timeout = c.Probe.Interval, c.Probe.Timeout
	b.Probe.Rise, b.Probe.Fall = c.Probe.Rise, c.Probe.Fall
	return c.equal(&b)
}

// Verdict says how a row follows from checks.
type Verdict struct {
	ID      status.ID
	Probes  []Need // in the order of the configuration; none: not probed
	AtLeast int    // how many of Probes must succeed; 0: all
	Note    string // why there are no Probes
	Missing bool   // what the row is of is not there: it is down; Note tells why
}

// Need is one probe of a verdict. It succeeds when all of its checks do: a
// virtual server with two addresses is probed on each, and a client may be
// given either. With Any one of them is enough.
type Need struct {
	Probe  string
	Checks []status.ID
	Any    bool
}

// Learnt is what is found out while a configuration runs, and what a plan
// depends on besides it. The zero Learnt knows nothing.
type Learnt struct {
	// Way gives the next hop of a link that has none in the configuration, the
	// zero Addr: none is known; and the packet mark that leads over a link that
	// has none there, 0: none does. Nil knows nothing.
	Way func(link string) (nextHop netip.Addr, mark uint32)

	// DNSServer gives the addresses of a DNS server that has them from its
	// link. Nil: none is known.
	DNSServer func(name string) []netip.Addr

	// RealServer gives the addresses that the DNS name of a server of a farm
	// has now. Nil: names are not resolved, and such servers are not probed.
	RealServer func(farm, server string) []netip.Addr
}

// Compile works out the plan of a model. It is pure. Links without a next hop of
// their own are not probed: see [CompileOver].
func Compile(m *config.Model) Plan { return CompileOver(m, Learnt{}) }

// CompileOver works out the plan of a model, as far as what it names is learnt.
//
// Rows: virtualServer/X, but not of those that are served, link/L, site/S,
// realServer/FARM/NAME and dnsServer/X always; pool/P/MEMBER only where
// the member or its pool has probes, the member's own taking the place of the
// pool's (semantics B.9). Members that are pools get none. A host name of a pool
// is never resolved, so a CNAME member counts only probes with an address of
// their own; without one it is not probed.
//
// A link's probes are pinned to it, and those with a link to theirs (T52).
func CompileOver(m *config.Model, learnt Learnt) Plan {
	over := learnt.Way
	if over == nil {
		over = func(string) (netip.Addr, uint32) { return netip.Addr{}, 0 }
	}
	c := compiler{probes: map[string]*config.Probe{}, links: map[string]owner{}, checks: map[status.ID]bool{}}
	for _, p := range m.Probes {
		c.probes[p.Name] = p
	}
	for _, l := range m.Links {
		c.links[l.Name] = ownerOf(l, over)
	}
	servers := map[string]*config.VirtualServer{}
	for _, vs := range m.VirtualServers {
		servers[vs.Name] = vs
		c.virtual(m, vs)
	}
	for _, f := range m.ServerFarms {
		c.farm(f, learnt.RealServer)
	}
	for _, l := range m.Links {
		c.add(c.links[l.Name])
	}
	for _, s := range m.Sites {
		c.add(owner{id: status.MakeID(status.KindSite, s.Name), probes: s.Probes, criteria: s.Criteria})
	}
	for _, s := range m.DNSServers {
		c.server(s, learnt.DNSServer)
	}
	for _, p := range m.Pools {
		for _, member := range p.Members {
			c.member(p, member, servers)
		}
	}
	return c.plan
}

// owner is a thing that owns a verdict row.
type owner struct {
	id       status.ID
	targets  []netip.AddrPort // where probes without an address of their own go
	pin      Pin              // its source is for probes without one of their own
	by       string           // names the pin in the names of checks; "": there is none
	note     string           // why there may be no targets
	missing  string           // why it is down without any probe; "": it is not
	any      bool             // one of its targets is enough
	probes   []string
	criteria config.Criteria

	transport Transport
}

// ownerOf gives a link as the owner of its row. Evidence gathered over one link
// says nothing about another (T52), so what pins a probe to it is part of the
// name of its check.
func ownerOf(l *config.Link, over func(link string) (netip.Addr, uint32)) owner {
	learnt, mark := over(l.Name)
	if l.Mark != 0 {
		mark = l.Mark
	}
	o := owner{
		id: status.MakeID(status.KindLink, l.Name), pin: Pin{Source: l.Source, Device: l.Interface, Mark: mark},
		probes: l.Probes, criteria: l.Criteria,
	}
	switch {
	case l.Interface != "" || l.Mark != 0:
		o.by = l.Name
	case l.Source.IsValid():
		o.by = l.Source.String()
	}
	hop := l.NextHop
	if !hop.IsValid() && l.Interface != "" {
		hop = learnt
		o.note = "not probed: no default route over " + l.Interface + " has told its next hop yet"
	}
	o.targets = one(hop)
	return o
}

type compiler struct {
	plan   Plan
	probes map[string]*config.Probe
	links  map[string]owner
	checks map[status.ID]bool
}

// member adds the row of a pool member, if it has one.
func (c *compiler) member(p *config.Pool, m *config.Member, servers map[string]*config.VirtualServer) {
	o := owner{id: status.MakeID(status.KindPool, p.Name, m.Target())}
	if o.probes, o.criteria = p.ProbesOf(m); len(o.probes) == 0 {
		return
	}
	if vs := servers[m.VirtualServer]; vs != nil {
		o.targets = targetsOf(vs)
	} else {
		o.targets = one(m.Address)
	}
	c.add(o)
}

// add adds a verdict and those of its checks that are not in the plan yet.
func (c *compiler) add(o owner) {
	v := Verdict{ID: o.id, AtLeast: o.criteria.AtLeast, Note: cmp.Or(o.missing, "not probed"), Missing: o.missing != ""}
	if v.Missing {
		c.plan.Verdicts = append(c.plan.Verdicts, v)
		return
	}
	for _, name := range o.probes {
		p := c.probes[name]
		if p == nil {
			continue // Validate has refused it
		}
		need := Need{Probe: name, Any: o.any}
		for _, target := range o.resolve(p) {
			need.Checks = append(need.Checks, c.check(p, target, &o))
		}
		if len(need.Checks) > 0 {
			v.Probes = append(v.Probes, need)
		} else {
			v.Note = cmp.Or(o.note, "not probed: there is no address to probe, and names are not resolved")
		}
	}
	c.plan.Verdicts = append(c.plan.Verdicts, v)
}

// check finds or adds the check of one probe and target for its owner. It is
// pinned to the probe's own link, else to the owner, if that is one.
func (c *compiler) check(p *config.Probe, target netip.AddrPort, o *owner) status.ID {
	shown, pin, by := showTarget(target), o.pin, o.by
	if p.Link != "" {
		pin, by = c.links[p.Link].pin, c.links[p.Link].by
	}
	if p.Source.IsValid() {
		pin.Source = p.Source
		if pin.Device == "" && pin.Mark == 0 {
			by = "" // then the link gives nothing
		}
	}
	if pin.Device != "" && !p.Source.IsValid() && pin.Source.Is4() && target.Addr().Is6() {
		pin.Source = netip.Addr{} // a router of IPv4 that was learnt by its IPv6 address (RFC 8950): the device is pin enough
	}
	var transport Transport
	if p.Kind == "dns" {
		if transport = o.transport; transport.Protocol != "" {
			shown = transport.Protocol + ":" + shown // one address may be asked in several ways
		}
	}
	if by != "" {
		shown += "@" + by
	}
	id := status.MakeID(status.KindProbe, shown, p.Name)
	if !c.checks[id] {
		c.checks[id] = true
		def := *p
		def.Pos = config.Pos{}
		c.plan.Checks = append(c.plan.Checks, Check{ID: id, Target: target, Pin: pin, Probe: def, Transport: transport})
	}
	return id
}

// resolve gives the targets of a probe: its own address or else the owner's,
// its own port or else the owner's or else the kind's usual one.
func (o *owner) resolve(p *config.Probe) []netip.AddrPort {
	attached := o.targets
	if p.Target.Addr.IsValid() {
		var port uint16
		if len(attached) > 0 {
			port = attached[0].Port()
		}
		attached = []netip.AddrPort{netip.AddrPortFrom(p.Target.Addr, port)}
	}
	k := kinds[p.Kind]
	targets := make([]netip.AddrPort, 0, len(attached))
	for _, a := range attached {
		port := a.Port()
		switch {
		case k.bare:
			port = 0
		case p.Target.Port != 0:
			port = p.Target.Port
		case port == 0:
			port = k.port
		}
		targets = append(targets, netip.AddrPortFrom(a.Addr().Unmap(), port))
	}
	return targets
}

func targetsOf(vs *config.VirtualServer) []netip.AddrPort {
	targets := make([]netip.AddrPort, len(vs.Addresses))
	for i, a := range vs.Addresses {
		targets[i] = netip.AddrPortFrom(a, vs.Port)
	}
	return targets
}

// one is the target list of a thing with one address, or none.
func one(a netip.Addr) []netip.AddrPort {
	if !a.IsValid() {
		return nil
	}
	return []netip.AddrPort{netip.AddrPortFrom(a, 0)}
}

// showTarget prints 10.0.0.7:80, [2001:db8::1]:80, or the address alone.
func showTarget(t netip.AddrPort) string {
	if t.Port() == 0 {
		return t.Addr().String()
	}
	return t.String()
}
