package config

import (
	"net/netip"
	"time"
)

// DNSProxy takes the DNS queries of the inside that cross this gateway to the
// DNS server of a well-chosen link. Clients see the answer come from whom they
// asked.
type DNSProxy struct {
	Enabled    bool           `yaml:"enabled" json:"enabled"`                 // false: queries cross the gateway as they are (default true)
	Interfaces []string       `yaml:"interfaces" json:"interfaces,omitempty"` // network interfaces of the inside: queries that come in by them are taken (default outbound.interfaces)
	Addresses  []netip.Prefix `yaml:"addresses" json:"addresses"`             // queries to these are taken; to an address of this gateway only if it is given itself, with all its bits, such as 192.168.1.1/32 (default 0.0.0.0/0 and ::/0, FAQ 1.3.1)
	Exclude    []netip.Prefix `yaml:"exclude" json:"exclude,omitempty"`       // clients whose queries cross as they are
	Port       uint16         `yaml:"port" json:"port"`                       // of this host that queries are brought to, UDP and TCP, 1 to 65535 (default 5300)

	Pool        string       `yaml:"pool" json:"pool,omitempty"`               // DNS server pool of the queries that no policy takes (default they pass)
	Policies    []*DNSPolicy `yaml:"policies" json:"policies,omitempty"`       // the first that matches decides
	Persistence string       `yaml:"persistence" json:"persistence,omitempty"` // which clients keep the DNS server that they have, by source
	Retries     int          `yaml:"retries" json:"retries"`                   // further DNS servers, of other links if there are, when one fails, 0 to 3 (default 1)
	Timeout     Duration     `yaml:"timeout" json:"timeout"`                   // for the answer of one DNS server, 100ms to 10s (default 2s)
	ECS         bool         `yaml:"ecs" json:"ecs,omitempty"`                 // pass on the Client Subnet that clients send; without, it is taken out (default false)

	Cache  DNSCache       `yaml:"cache" json:"cache,omitzero"` // default none
	Limits DNSProxyLimits `yaml:"limits" json:"limits"`

	RepairSysctls bool `yaml:"repairSysctls" json:"repairSysctls,omitempty"` // set the kernel's settings that would break the proxy; otherwise they are reported (default that of outbound)
	Pos           Pos  `yaml:"-" json:"-"`
}

// DNSCache keeps answers to give them again. In YAML it is also its size. A
// size of 0: there is no cache.
type DNSCache struct {
	Size     Size     `yaml:"size" json:"size"`                   // of memory, 1MiB to 64GiB (default 32MiB); 0B: no cache
	MinTTL   Duration `yaml:"minTTL" json:"minTTL,omitempty"`     // an answer is kept so long at least, 0s to 1h (default 0s)
	MaxTTL   Duration `yaml:"maxTTL" json:"maxTTL"`               // and so long at most, 1s to 168h (default 24h)
	Negative Duration `yaml:"negative" json:"negative,omitempty"` // that there is no such name or type, at most; 0s: not at all, to 3h (default 15m, RFC 2308 5)
	Stale    Duration `yaml:"stale" json:"stale,omitempty"`       // after its time an answer is still given for so long while no DNS server answers, 0s to 168h (default 0s: never, RFC 8767)
}

// DNSProxyLimits bound what clients can take of the proxy. What is over is
// dropped and counted.
type DNSProxyLimits struct {
	Outstanding          int      `yaml:"outstanding" json:"outstanding"`                   // queries that wait for a DNS server, 1 to 1000000 (default 10000)
	OutstandingPerClient int      `yaml:"outstandingPerClient" json:"outstandingPerClient"` // of them from one IPv4 address or IPv6 /64, 1 to 1000000 (default 200)
	Connections          int      `yaml:"connections" json:"connections"`                   // TCP connections of clients open at once, 1 to 1000000 (default 1000)
	ConnectionsPerClient int      `yaml:"connectionsPerClient" json:"connectionsPerClient"` // of them from one IPv4 address or IPv6 /64, 1 to 1000000 (default 50)
	QueriesPerConnection int      `yaml:"queriesPerConnection" json:"queriesPerConnection"` // queries of one TCP connection that are answered at the same time, 1 to 1000 (default 16)
	IdleTimeout          Duration `yaml:"idleTimeout" json:"idleTimeout"`                   // for the next whole query on a TCP connection, 100ms to 1h (default 10s)
}

// ProxiesDNS says whether this node has a transparent DNS proxy.
func (m *Model) ProxiesDNS() bool { return m.DNSProxy != nil && m.DNSProxy.Enabled }

// everywhere is every address of both families.
func everywhere() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
}

func (p *DNSProxy) defaults() {
	*p = DNSProxy{Enabled: true, Addresses: everywhere(), Port: 5300, Retries: 1, Timeout: Duration(2 * time.Second)}
	p.Limits.defaults()
}

func (l *DNSProxyLimits) defaults() {
	*l = DNSProxyLimits{Outstanding: 10_000, OutstandingPerClient: 200, Connections: 1000, ConnectionsPerClient: 50,
		QueriesPerConnection: 16, IdleTimeout: Duration(10 * time.Second)}
}

func (x *DNSCache) defaults() {
	*x = DNSCache{Size: 32 << 20, MaxTTL: Duration(24 * time.Hour), Negative: Duration(15 * time.Minute)}
}

func (x *DNSCache) decodeShort(d *decoder, p *place) { d.textual(p, &x.Size) }

func (p *DNSProxy) check(c *checker) {
	if !c.given(&p.Interfaces) && c.m.Outbound != nil {
		p.Interfaces = c.m.Outbound.Interfaces
	}
	switch {
	case c.given(&p.Interfaces):
		c.empty(&p.Interfaces, len(p.Interfaces))
		c.inside(p.Interfaces)
	case len(p.Interfaces) == 0:
		c.bad(&p.Interfaces, "interfaces is missing, and there is no outbound.interfaces to take them from")
	}
	if !c.given(&p.RepairSysctls) && c.m.Outbound != nil {
		p.RepairSysctls = c.m.Outbound.RepairSysctls
	}
	c.empty(&p.Addresses, len(p.Addresses))
	distinct(c, p.Addresses)
	c.empty(&p.Exclude, len(p.Exclude))
	distinct(c, p.Exclude)
	if between(c, &p.Port, 1, 65535); p.Port != 0 {
		p.checkPort(c)
	}
	if !c.given(&p.Pool) && len(p.Policies) == 0 {
		c.bad(p, "at least one of pool, policies belongs here: no query would be taken")
	}
	if c.given(&p.Pool) {
		c.refer("DNS server pool", &p.Pool)
	}
	if c.given(&p.Persistence) && c.refer("persistence", &p.Persistence) {
		if by := c.gateway.persistence[p.Persistence].By; by != PersistBySource && by != "" {
			c.bad(&p.Persistence, "persistence %q is by %s; that of DNS is by source", p.Persistence, by)
		}
	}
	between(c, &p.Retries, 0, 3)
	between(c, &p.Timeout, Duration(100*time.Millisecond), Duration(10*time.Second))
	p.Cache.check(c)
	p.Limits.check(c)
	p.checkPolicies(c)
	c.of(p)
}

// checkPort refuses a port that other sockets of this program have.
func (p *DNSProxy) checkPort(c *checker) {
	for _, l := range c.m.DNS.Listeners {
		if l != nil && l.Address.Port() == p.Port {
			c.bad(&p.Port, "port %d is that of the listener of dns on %s; give dnsProxy another one", p.Port, l.Address)
			return
		}
	}
	if a := c.m.Metrics.Address; a.IsValid() && a.Port() == p.Port {
		c.bad(&p.Port, "port %d is that of metrics on %s; give dnsProxy another one", p.Port, a)
	}
}

func (x *DNSCache) check(c *checker) {
	if !c.given(x) {
		return
	}
	if x.Size == 0 {
		for _, field := range []any{&x.MinTTL, &x.MaxTTL, &x.Negative, &x.Stale} {
			if c.given(field) {
				c.bad(field, "has no place beside size 0B: there is no cache")
			}
		}
		return
	}
	field := any(&x.Size)
	if !c.given(field) {
		field = x // the short form
	}
	if low, high := Size(1<<20), Size(64<<30); x.Size < low || x.Size > high {
		c.bad(field, "%v is out of range %v to %v", x.Size, low, high)
	}
	between(c, &x.MinTTL, 0, Duration(time.Hour))
	between(c, &x.MaxTTL, Duration(time.Second), Duration(168*time.Hour))
	between(c, &x.Negative, 0, Duration(3*time.Hour))
	between(c, &x.Stale, 0, Duration(168*time.Hour))
	if x.MinTTL > x.MaxTTL {
		c.bad(&x.MinTTL, "minTTL %v is larger than maxTTL %v", x.MinTTL, x.MaxTTL)
	}
}

func (l *DNSProxyLimits) check(c *checker) {
	between(c, &l.Outstanding, 1, 1_000_000)
	between(c, &l.OutstandingPerClient, 1, 1_000_000)
	between(c, &l.Connections, 1, 1_000_000)
	between(c, &l.ConnectionsPerClient, 1, 1_000_000)
	between(c, &l.QueriesPerConnection, 1, 1000)
	between(c, &l.IdleTimeout, Duration(100*time.Millisecond), Duration(time.Hour))
}
