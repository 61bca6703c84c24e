package config

import (
	"net/netip"
	"reflect"
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
	Pos    Pos            `yaml:"-" json:"-"`
}

// DNSPolicy says what becomes of some queries. It matches when both the name
// and the client do; what is not given matches all.
type DNSPolicy struct {
	Name       string         `yaml:"name" json:"name,omitempty"`             // to tell it by (default its number)
	Domains    []string       `yaml:"domains" json:"domains,omitempty"`       // names and all below them: example.com stands for www.example.com too; canonical after Load
	DomainFile string         `yaml:"domainFile" json:"domainFile,omitempty"` // more of them, one a line, # before comments
	Sources    []netip.Prefix `yaml:"sources" json:"sources,omitempty"`       // clients (default all)
	Action     DNSAction      `yaml:"action" json:"action"`                   // what becomes of the query
	Pos        Pos            `yaml:"-" json:"-"`
}

// DNSAction is what becomes of a query. Exactly one of do, pool and answer is
// given; in YAML it is also a bare word of do.
type DNSAction struct {
	Do        string    `yaml:"do" json:"do,omitempty" words:"dnsAction"`                // instead of a pool
	Pool      string    `yaml:"pool" json:"pool,omitempty"`                              // one of its DNS servers is asked
	Answer    DNSAnswer `yaml:"answer" json:"answer,omitzero"`                           // we answer ourselves
	OnFailure string    `yaml:"onFailure" json:"onFailure,omitempty" words:"dnsFailure"` // with pool: when none of its DNS servers is usable (default servfail)
}

// What becomes of a query that goes to no pool.
const (
	DNSPass = "pass"
	DNSDrop = "drop"
)

// What becomes of a query whose pool has no usable DNS server.
const (
	DNSFailureServfail = "servfail"
	DNSFailureContinue = "continue"
)

// DNSAnswer is an answer of our own: a word, or addresses, of which a query
// gets those of its type. In YAML it is also a bare word of code.
type DNSAnswer struct {
	Code      string       `yaml:"code" json:"code,omitempty" words:"dnsAnswer"` // an answer without an address
	Addresses []netip.Addr `yaml:"addresses" json:"addresses,omitempty"`         // A and AAAA; other types have no data
	TTL       Duration     `yaml:"ttl" json:"ttl,omitempty"`                     // of the answer, 0s to 24h in whole seconds (default 60s)
}

// Answers of our own without an address.
const (
	DNSAnswerNXDOMAIN = "nxdomain"
	DNSAnswerNodata   = "nodata"
	DNSAnswerRefused  = "refused"
)

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

// Given says whether there is an answer of our own.
func (a *DNSAnswer) Given() bool { return a.Code != "" || len(a.Addresses) > 0 }

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

func (a *DNSAction) decodeShort(d *decoder, p *place) {
	if word, _, _ := scalarText(p.node); d.word(p, word, "dnsAction") {
		a.Do = word
	}
}

func (a *DNSAnswer) defaults() { *a = DNSAnswer{TTL: Duration(time.Minute)} }

func (a *DNSAnswer) decodeShort(d *decoder, p *place) {
	d.value(p, reflect.ValueOf(&a.Code).Elem(), "dnsAnswer")
}
