package config

import (
	"net/netip"
	"reflect"
	"strings"
	"time"
)

// Link is an ISP line: what clients reach a virtual server by. It owns the row
// link/NAME. With an interface it is this node's own, and the row
// interface/INTERFACE must be up too; without, somebody else's line that is
// only metered or judged.
type Link struct {
	Name      string     `yaml:"name" json:"name"`
	Interface string     `yaml:"interface" json:"interface,omitempty"` // the network interface that the line is plugged into here; its state, addresses and counters are followed
	NextHop   netip.Addr `yaml:"nextHop" json:"nextHop,omitzero"`      // the line's router, target of its probes; default: where the default route over the interface leads, followed as it changes
	NextHop6  netip.Addr `yaml:"nextHop6" json:"nextHop6,omitzero"`    // the line's router for IPv6, where nextHop is the one for IPv4; it may be a link-local address; default: where the IPv6 default route over the interface leads, followed as it changes
	Source    netip.Addr `yaml:"source" json:"source,omitzero"`        // source address of what is sent over it to probe and measure; default: the kernel's choice
	Mark      uint32     `yaml:"mark" json:"mark,omitempty"`           // packet mark of what is sent over it to probe and measure, for rules of policy routing, such as 7 or 0x10; 0: none
	Cost      int        `yaml:"cost" json:"cost,omitempty"`           // what using it costs, 0 to 1000000 in units of your own: lower is better for cost and proximity (default 0)
	Site      string     `yaml:"site" json:"site,omitempty"`           // where the line ends

	MaxBandwidth Bandwidths `yaml:"maxBandwidth" json:"maxBandwidth,omitzero"` // what it is expected to carry: busy protection judges by it (C8); without, it is never busy
	RateLimit    Bandwidths `yaml:"rateLimit" json:"rateLimit,omitzero"`       // what it may carry: what remains of it is what bandwidth, max-bandwidth and proximity look at (C8)
	Busy         Busy       `yaml:"busy" json:"busy,omitzero"`
	Meter        Meter      `yaml:"meter" json:"meter,omitzero"` // where its rates come from (default interface, if it has one)

	SNAT           SNAT `yaml:"snat" json:"snat,omitzero"`                      // the source address of what leaves by its interface from the inside
	MaxConnections int  `yaml:"maxConnections" json:"maxConnections,omitempty"` // balanced over it at once; full at so many, 1 to 2000000000; 0: no bound
	NewConnections int  `yaml:"newConnections" json:"newConnections,omitempty"` // balanced over it a second; more go elsewhere, 1 to 10000000; 0: no bound
	Shape          bool `yaml:"shape" json:"shape,omitempty"`                   // the kernel holds what flows over its interface below rateLimit in and out (default false: rateLimit is only looked at)

	Probes   []string `yaml:"probes" json:"probes,omitempty"`
	Criteria Criteria `yaml:"criteria" json:"criteria,omitzero"`
	Pos      Pos      `yaml:"-" json:"-"`
}

// Bandwidths are bandwidths by direction. In YAML {total, in, out}, or one
// bandwidth for total. What is not given is not limited.
type Bandwidths struct {
	Total Bandwidth `yaml:"total" json:"total,omitzero"` // in and out together
	In    Bandwidth `yaml:"in" json:"in,omitzero"`       // received from the line
	Out   Bandwidth `yaml:"out" json:"out,omitzero"`     // sent into the line
}

// Busy says when a link is too loaded to be given anything new: above rate of
// its maxBandwidth in any direction, until it is below recovery in every one
// (FAQ 1.2.12, 1.2.26).
type Busy struct {
	Rate     Percent    `yaml:"rate" json:"rate"`                        // of maxBandwidth: busy above it, 1% to 100% (default 70%)
	Recovery Percent    `yaml:"recovery" json:"recovery"`                // of maxBandwidth: free below it, 1% to rate (default 60%, or rate if that is less)
	In       BusyShares `yaml:"in" json:"in,omitzero"`                   // for maxBandwidth.in (default those of busy)
	Out      BusyShares `yaml:"out" json:"out,omitzero"`                 // for maxBandwidth.out (default those of busy)
	Window   Duration   `yaml:"window" json:"window"`                    // rates are means over it, 1s to 300s (default 1s)
	Shed     string     `yaml:"shed" json:"shed,omitempty" words:"shed"` // who leaves a link over its threshold (default all)
}

// BusyShares are the thresholds of one direction.
type BusyShares struct {
	Rate     Percent `yaml:"rate" json:"rate"`         // of maxBandwidth: busy above it, 1% to 100%
	Recovery Percent `yaml:"recovery" json:"recovery"` // of maxBandwidth: free below it, 1% to rate
}

// Meter says where the rates of a link come from. In YAML a word, or
// {snmp: {...}}.
type Meter struct {
	From   string   `yaml:"from" json:"from,omitempty" words:"meter"` // default interface if the link has one, else nothing meters it
	SNMP   SNMP     `yaml:"snmp" json:"snmp,omitzero"`                // the counters of a router's interface (IF-MIB, 64 bits)
	MaxAge Duration `yaml:"maxAge" json:"maxAge,omitzero"`            // push: a value counts so long, 1s to 1h (default 30s)
}

// Where the rates of a link come from.
const (
	MeterInterface = "interface"
	MeterPush      = "push"
	MeterSNMP      = "snmp"
)

// ShedSlices is the word of Busy.Shed for fixed slices of clients.
const ShedSlices = "hash-slices"

// SNMP is an interface of a router that is asked for its counters.
type SNMP struct {
	Address   netip.Addr `yaml:"address" json:"address,omitzero"`                      // the router
	Port      uint16     `yaml:"port" json:"port,omitempty"`                           // default 161
	Version   string     `yaml:"version" json:"version,omitempty" words:"snmpVersion"` // default 2c
	Community string     `yaml:"community" json:"-"`                                   // 2c: the word that lets us read
	User      string     `yaml:"user" json:"user,omitempty"`                           // 3: the user
	Auth      string     `yaml:"auth" json:"auth,omitempty" words:"snmpAuth"`          // 3: how the user proves itself; without, it does not
	AuthKey   string     `yaml:"authKey" json:"-"`                                     // 3: its passphrase, at least 8 characters
	Priv      string     `yaml:"priv" json:"priv,omitempty" words:"snmpPriv"`          // 3: how what is said is hidden; without, it is not
	PrivKey   string     `yaml:"privKey" json:"-"`                                     // 3: its passphrase, at least 8 characters
	Interface string     `yaml:"interface" json:"interface,omitempty"`                 // ifName, ifDescr or ifAlias of the interface; found again when the router renumbers
	Index     int        `yaml:"index" json:"index,omitempty"`                         // or its ifIndex, 1 to 2147483647
	Interval  Duration   `yaml:"interval" json:"interval,omitzero"`                    // between two questions, 1s to 60s (default 5s)
	Timeout   Duration   `yaml:"timeout" json:"timeout,omitzero"`                      // for an answer, 100ms to interval (default 2s, or interval if that is less)
}

func (b *Bandwidths) decodeShort(d *decoder, p *place) {
	d.value(p, reflect.ValueOf(&b.Total).Elem(), "")
}

func (m *Meter) decodeShort(d *decoder, p *place) {
	switch word, _, _ := scalarText(p.node); {
	case word == MeterSNMP:
		d.fail(p, "write meter: {snmp: {address: ..., community: ..., interface: ...}}", "snmp has to say which interface of which router")
	case d.word(p, word, "meter"):
		m.From = word
	}
}

const (
	defaultRate     = 70 // FAQ 1.2.26 (d)
	defaultRecovery = 60
)

func (b *Busy) defaults() { *b = Busy{Window: Duration(time.Second), Shed: "all"} }

func (l *Link) defaults() { l.Busy.defaults() }

func (l *Link) check(c *checker) {
	c.nextHop(&l.NextHop, false)
	l.checkNextHop6(c)
	c.endpoint(&l.Source)
	if l.Source.IsValid() && l.NextHop.IsValid() && l.Source.Is4() != l.NextHop.Is4() {
		c.bad(&l.Source, "%s and the next hop %s are of different families", l.Source, l.NextHop)
	}
	if c.given(&l.Interface) && !isInterface(l.Interface) {
		c.bad(&l.Interface, "%s is no name of a network interface: 1 to 15 characters, no space, slash or colon", quote(l.Interface))
	}
	between(c, &l.Cost, 0, 1_000_000)
	if c.given(&l.Site) {
		c.refer("site", &l.Site)
	}
	l.Busy.check(c, l)
	l.Meter.check(c, l)
	l.checkBalanced(c)
	on := attachment{what: "link \"" + l.Name + "\"", source: l.Source, learnt: l.Interface != "" && !l.NextHop.IsValid()}
	if l.NextHop.IsValid() {
		on.addresses = []netip.Addr{l.NextHop}
	}
	c.attach(l.Probes, on)
	for i, name := range l.Probes {
		if p := c.probe[name]; p != nil && p.Link != "" && p.Link != l.Name {
			c.bad(&l.Probes[i], "probe %q goes over link %s, which says nothing of this one (T52)", name, quote(p.Link))
		}
	}
	c.criteria(&l.Criteria, l.Probes)
}

// isInterface says what Linux takes as the name of an interface.
func isInterface(name string) bool {
	return 0 < len(name) && len(name) <= 15 && name != "." && name != ".." && !strings.ContainsAny(name, " \t\n\r\f\v/:")
}

// nextHop refuses what cannot be a neighbour's address (semantics B.3).
// 127.0.0.0/8 is let through: pretend links of a test bench stand there.
func (c *checker) nextHop(field *netip.Addr, linkLocal bool) {
	switch a := *field; {
	case !a.IsValid():
	case a.Is4() && a.As4()[0] == 0 || a.IsUnspecified():
		c.bad(field, "%s is no host's address", a)
	case a.Is6() && a.IsLoopback():
		c.bad(field, "%s is the loopback address", a)
	case a.Is6() && a.IsLinkLocalUnicast() && !linkLocal:
		c.bad(field, "%s is a link-local address; write the neighbour's global one", a)
	default:
		c.endpoint(field)
	}
}

func (l *Link) checkNextHop6(c *checker) {
	switch hop := l.NextHop6; {
	case !hop.IsValid():
		return
	case hop.Is4():
		c.bad(&l.NextHop6, "%s is an IPv4 address; nextHop is the place for it", hop)
	case l.NextHop.Is6():
		c.bad(&l.NextHop6, "has no place beside nextHop %s, which is for IPv6 already", l.NextHop)
	case l.Interface == "":
		c.bad(&l.NextHop6, "the link has no interface here: nothing is sent to it")
	}
	c.nextHop(&l.NextHop6, true)
}

// checkBalanced checks what holds for the traffic that is balanced over the
// link.
func (l *Link) checkBalanced(c *checker) {
	for _, field := range []any{&l.SNAT, &l.MaxConnections, &l.NewConnections, &l.Shape} {
		if c.given(field) && l.Interface == "" {
			c.bad(field, "the link has no interface here, so nothing is balanced over it")
		}
	}
	l.SNAT.check(c, l)
	if c.given(&l.MaxConnections) {
		between(c, &l.MaxConnections, 1, maxConnections)
	}
	if c.given(&l.NewConnections) {
		between(c, &l.NewConnections, 1, maxNewConnections)
	}
	switch {
	case !l.Shape || l.Interface == "":
	case l.RateLimit == Bandwidths{}:
		c.bad(&l.Shape, "there is no rateLimit to hold it below")
	case l.RateLimit.In == 0 && l.RateLimit.Out == 0:
		c.bad(&l.Shape, "each direction is shaped for itself: give rateLimit in, out or both, not only total")
	}
	balanced := c.gateway.balanced[l.Name]
	if l.Mark&ownMarks != 0 && balanced && c.m.Balances() {
		c.warn(&l.Mark, "bits 0 to 28 of marks are Portolan's own where outbound balances; use %#x and above", ownMarks+1)
	}
	for _, field := range []*int{&l.MaxConnections, &l.NewConnections} {
		if c.given(field) && l.Interface != "" && !balanced && !c.broken {
			c.warn(field, "has no effect: no link group has link %q as a member", l.Name)
		}
	}
}

// ownMarks are the bits of packet marks that Portolan sets itself.
const ownMarks = 1<<29 - 1

// check fills in what follows from other shares, and refuses thresholds that
// never end.
func (b *Busy) check(c *checker, l *Link) {
	c.shares(&b.Rate, &b.Recovery, defaultRate, defaultRecovery)
	c.shares(&b.In.Rate, &b.In.Recovery, b.Rate, b.Recovery)
	c.shares(&b.Out.Rate, &b.Out.Recovery, b.Rate, b.Recovery)
	between(c, &b.Window, Duration(time.Second), Duration(300*time.Second))
	switch max := l.MaxBandwidth; {
	case c.given(b) && max == Bandwidths{}:
		c.warn(b, "has no effect: link %s has no maxBandwidth, so it is never busy", quote(l.Name))
	case c.given(&b.In) && max.In == 0:
		c.warn(&b.In, "has no effect without maxBandwidth.in")
	case c.given(&b.Out) && max.Out == 0:
		c.warn(&b.Out, "has no effect without maxBandwidth.out")
	}
}

// shares checks a pair of thresholds and gives it its defaults.
func (c *checker) shares(rate, recovery *Percent, otherRate, otherRecovery Percent) {
	if !c.given(rate) {
		*rate = otherRate
	} else {
		between(c, rate, 1, 100)
	}
	switch {
	case !c.given(recovery):
		*recovery = min(otherRecovery, *rate)
	case *recovery < 1 || *rate < 1: // the other is not to blame
		between(c, recovery, 1, 100)
	case *recovery > *rate:
		c.bad(recovery, "recovery %v is above rate %v: what is busy would be free at once", *recovery, *rate)
	}
}

func (m *Meter) check(c *checker, l *Link) {
	snmp := c.given(&m.SNMP)
	switch {
	case snmp && c.given(&m.From):
		c.bad(&m.SNMP, "has no place beside from: %s", m.From)
	case snmp:
		m.From = MeterSNMP
		m.SNMP.check(c)
	case m.From == "" && l.Interface != "":
		m.From = MeterInterface
	case m.From == MeterInterface && l.Interface == "":
		c.bad(m, "the link has no interface here; meter it by {snmp: {...}} or push")
	}
	switch {
	case m.From == MeterPush:
		if !c.given(&m.MaxAge) {
			m.MaxAge = Duration(30 * time.Second)
		}
		between(c, &m.MaxAge, Duration(time.Second), Duration(time.Hour))
	case c.given(&m.MaxAge):
		c.bad(&m.MaxAge, "belongs to from: push")
	}
	if m.From == "" && (c.given(&l.MaxBandwidth) || c.given(&l.RateLimit)) {
		c.warn(l, "nothing meters it: give it an interface, or a meter of snmp or push; what it carries is unknown")
	}
}

func (s *SNMP) check(c *checker) {
	defer c.of(c.noun)
	c.of(s) // what is missing is missing here
	c.need(&s.Address, "address")
	c.endpoint(&s.Address)
	if !c.given(&s.Port) {
		s.Port = 161
	}
	between(c, &s.Port, 1, 65535)
	s.checkAccess(c)
	switch byName, byIndex := c.given(&s.Interface), c.given(&s.Index); {
	case byName == byIndex:
		c.bad(s, "exactly one of interface, index belongs here")
	case byIndex:
		between(c, &s.Index, 1, 1<<31-1)
	default:
		c.empty(&s.Interface, len(s.Interface))
	}
	if !c.given(&s.Interval) {
		s.Interval = Duration(5 * time.Second)
	}
	between(c, &s.Interval, Duration(time.Second), Duration(time.Minute))
	if !c.given(&s.Timeout) {
		s.Timeout = min(Duration(2*time.Second), s.Interval)
	}
	between(c, &s.Timeout, Duration(100*time.Millisecond), s.Interval)
}

// maxCommunity is how long a community may be: longer ones are not put into
// packets rightly.
const maxCommunity = 127

// checkAccess checks who we say we are.
func (s *SNMP) checkAccess(c *checker) {
	if !c.given(&s.Version) {
		s.Version = "2c"
	}
	three := s.Version == "3"
	if !three {
		c.need(&s.Community, "community")
	}
	if len(s.Community) > maxCommunity {
		c.bad(&s.Community, "community has %d characters, more than %d", len(s.Community), maxCommunity)
	}
	for _, f := range []struct {
		field *string
		key   string
		v3    bool
	}{{&s.Community, "community", false}, {&s.User, "user", true}, {&s.Auth, "auth", true}, {&s.AuthKey, "authKey", true}, {&s.Priv, "priv", true}, {&s.PrivKey, "privKey", true}} {
		if c.given(f.field) && f.v3 != three {
			c.bad(f.field, "%s has no place in version %s", f.key, s.Version)
		}
	}
	if !three {
		return
	}
	c.need(&s.User, "user")
	c.secret(&s.Auth, "auth", &s.AuthKey, "authKey")
	c.secret(&s.Priv, "priv", &s.PrivKey, "privKey")
	if s.Priv != "" && s.Auth == "" {
		c.bad(&s.Priv, "needs auth: SNMP hides nothing for a user that does not prove itself")
	}
}

// secret checks a way to prove or hide, and its passphrase.
func (c *checker) secret(way *string, wayKey string, key *string, keyKey string) {
	switch {
	case c.given(way) != c.given(key):
		c.bad(way, "%s and %s belong together", wayKey, keyKey)
	case c.given(key) && len(*key) < 8:
		c.bad(key, "%s is shorter than 8 characters (RFC 3414 11.2)", keyKey)
	}
}
