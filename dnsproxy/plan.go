package dnsproxy

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// Plan is the proxy of one configuration. It is not changed once it is made,
// but for what it counts and remembers.
type Plan struct {
	conf    *config.DNSProxy // nil: there is no proxy
	rules   []*rule          // the last one is the default
	pools   map[string]*pool
	servers []*server
	needs   map[status.ID][]*pool
	cache   *cache
	sticky  *sticky
	passing *passing

	domains map[[sha256.Size]byte]*Domains // sets of names of the rules

	views map[string]uint32 // of pools as they are now, by what they are made of
	last  uint32            // view that was given out last
	taken map[string]*atomic.Uint64
}

// Enabled says whether there is a proxy at all.
func (p *Plan) Enabled() bool { return p != nil && p.conf != nil }

// Port is where the proxy listens.
func (p *Plan) Port() uint16 { return p.conf.Port }

// Compile makes a plan of a validated model. Files that it refers to are read
// from src. It has no effect; what runs on (what was learnt of servers,
// counters, the cache, persistence) is taken over from before, which may be nil.
func Compile(m *config.Model, src config.Source, before *Plan) (*Plan, error) {
	p := &Plan{domains: map[[sha256.Size]byte]*Domains{}, pools: map[string]*pool{}, needs: map[status.ID][]*pool{}, views: map[string]uint32{}, taken: map[string]*atomic.Uint64{}}
	if before == nil {
		before = &Plan{}
	}
	p.last = before.last
	if !m.ProxiesDNS() {
		return p, nil
	}
	p.conf = m.DNSProxy
	c := &compiler{model: m, src: src, before: before, plan: p, servers: map[string]*server{}, links: map[string]*config.Link{}}
	for _, l := range m.Links {
		c.links[l.Name] = l
	}
	for _, s := range m.DNSServers {
		if err := c.server(s); err != nil {
			return nil, err
		}
	}
	for _, conf := range m.DNSServerPools {
		if err := c.pool(conf); err != nil {
			return nil, err
		}
	}
	for i, conf := range p.conf.Policies {
		if err := c.rule(conf, i); err != nil {
			return nil, err
		}
	}
	c.last()
	return p, c.kept()
}

// compiler makes a plan.
type compiler struct {
	model   *config.Model
	src     config.Source
	before  *Plan
	plan    *Plan
	servers map[string]*server
	links   map[string]*config.Link
}

func (c *compiler) server(conf *config.DNSServer) error {
	s := &server{name: conf.Name, auto: conf.Auto, port: conf.Port, link: conf.Link, protocol: conf.Protocol, tlsName: conf.ServerName, path: conf.Path}
	if l := c.links[conf.Link]; l != nil {
		s.device = l.Interface
	}
	addresses := conf.Addresses
	if conf.Address.IsValid() && !slices.Contains(addresses, conf.Address) {
		addresses = append([]netip.Addr{conf.Address}, addresses...)
	}
	if s.port == 0 {
		s.port = defaultPort(conf.Protocol)
	}
	for _, a := range addresses {
		s.addresses = append(s.addresses, netip.AddrPortFrom(a.Unmap(), s.port))
	}
	if conf.CAFile != "" {
		pem, err := c.src.ReadFile(conf.CAFile)
		if err != nil {
			return fmt.Errorf("DNS server %s: caFile: %w", conf.Name, err)
		}
		if s.roots = x509.NewCertPool(); !s.roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("DNS server %s: caFile %s: no certificate in it", conf.Name, c.src.Show(conf.CAFile))
		}
	}
	s.identity = fmt.Sprint(s.name, s.addresses, s.auto, s.port, s.protocol, s.tlsName, s.path, conf.CAFile)
	for _, old := range c.before.servers {
		if old.identity == s.identity && conf.CAFile == "" { // a file may have changed
			s.learnt = old.learnt
		}
	}
	if s.learnt == nil {
		s.learnt = newLearnt()
	}
	c.servers[conf.Name] = s
	c.plan.servers = append(c.plan.servers, s)
	return nil
}

func defaultPort(protocol string) uint16 {
	switch protocol {
	case config.DNSOverTLS:
		return 853
	case config.DNSOverHTTPS:
		return 443
	}
	return 53
}

func (c *compiler) pool(conf *config.DNSServerPool) error {
	identity := &strings.Builder{}
	fmt.Fprint(identity, conf.Name)
	for _, m := range conf.Members {
		s := c.servers[m.Server]
		if s == nil {
			return fmt.Errorf("DNS server pool %s: no DNS server %q", conf.Name, m.Server)
		}
		fmt.Fprint(identity, "|", s.identity, s.link)
	}
	p := newPool(conf, c.servers, c.links)
	if old := c.before.pools[conf.Name]; old != nil {
		p.draws = old.draws
	} else {
		p.draws = &atomic.Uint64{}
	}
	view, known := c.before.views[identity.String()]
	if !known {
		c.plan.last++
		view = c.plan.last
	}
	p.view = view
	c.plan.views[identity.String()] = view
	c.plan.pools[conf.Name] = p
	for _, id := range p.group.Needs() {
		c.plan.needs[id] = append(c.plan.needs[id], p)
	}
	return nil
}

func (c *compiler) rule(conf *config.DNSPolicy, i int) error {
	r := &rule{name: ruleName(conf, i), goesOn: conf.Action.OnFailure == config.DNSFailureContinue}
	for _, prefix := range conf.Sources {
		r.sources = append(r.sources, prefix.Masked())
	}
	if err := c.domains(r, conf); err != nil {
		return fmt.Errorf("dnsProxy: policy %s: %w", r.name, err)
	}
	switch a := &conf.Action; {
	case a.Pool != "":
		if r.pool = c.plan.pools[a.Pool]; r.pool == nil {
			return fmt.Errorf("dnsProxy: policy %s: no DNS server pool %q", r.name, a.Pool)
		}
		r.action = toPool
	case a.Answer.Given():
		r.action, r.answer = toAnswer, &a.Answer
	case a.Do == config.DNSDrop:
		r.action = toNobody
	default:
		r.action = toAsked
	}
	c.add(r)
	return nil
}

// domains makes the sets of names of a rule.
func (c *compiler) domains(r *rule, conf *config.DNSPolicy) error {
	if len(conf.Domains) == 0 && conf.DomainFile == "" {
		return nil
	}
	var file []byte
	if conf.DomainFile != "" {
		var err error
		if file, err = c.src.ReadFile(conf.DomainFile); err != nil {
			return fmt.Errorf("domainFile: %w", err)
		}
	}
	key := domainsKey(conf.Domains, file)
	set := c.before.domains[key]
	if set == nil {
		var err error
		if set, err = newDomains(conf.Domains, file); err != nil {
			return fmt.Errorf("domainFile %s: %w", c.src.Show(conf.DomainFile), err)
		}
	}
	c.plan.domains[key] = set
	r.domains = append(r.domains, set)
	return nil
}

// add adds a rule, with the counter that it had before.
func (c *compiler) add(r *rule) {
	if r.taken = c.before.taken[r.name]; r.taken == nil {
		r.taken = &atomic.Uint64{}
	}
	c.plan.taken[r.name] = r.taken
	c.plan.rules = append(c.plan.rules, r)
}

// last adds the default: the proxy's pool, or the address that was asked.
func (c *compiler) last() {
	r := &rule{name: "default", action: toAsked}
	if name := c.plan.conf.Pool; name != "" {
		r.action, r.pool = toPool, c.plan.pools[name]
	}
	c.add(r)
}

// kept takes over what is remembered, where its rules are the same.
func (c *compiler) kept() error {
	p := c.plan
	if r := p.rules[len(p.rules)-1]; r.action == toPool && r.pool == nil {
		return fmt.Errorf("dnsProxy: no DNS server pool %q", p.conf.Pool)
	}
	if p.passing = c.before.passing; p.passing == nil {
		p.passing = &passing{of: map[netip.AddrPort]*server{}}
	}
	x := p.conf.Cache
	rules := cacheRules{bytes: int64(x.Size), minTTL: seconds(x.MinTTL), maxTTL: seconds(x.MaxTTL), negative: seconds(x.Negative), old: seconds(x.Stale)}
	if p.cache = c.before.cache; p.cache == nil || p.cache.rules != rules {
		p.cache = newCache(rules)
	}
	for _, conf := range c.model.Persistence {
		if conf.Name == p.conf.Persistence {
			conf := *conf
			conf.Pos = config.Pos{}
			if p.sticky = c.before.sticky; p.sticky == nil || p.sticky.conf != conf {
				p.sticky = newSticky(&conf)
			}
		}
	}
	return nil
}

func seconds(d config.Duration) uint32 { return uint32(time.Duration(d) / time.Second) }

// use makes the pools whose rows changed ready for a table, before queries see
// it. changed nil: all.
func (p *Plan) use(t *status.Table, changed []status.ID) {
	if changed == nil {
		for _, pool := range p.pools {
			pool.group.Use(t)
		}
		return
	}
	for _, id := range changed {
		for _, pool := range p.needs[id] {
			pool.group.Use(t)
		}
	}
}

// passing are the servers that clients asked and that policies let them have.
// Whom clients ask is theirs to say, so there is a bound.
type passing struct {
	mu sync.Mutex
	of map[netip.AddrPort]*server
}

const maxPassing = 1024

// server gives the server at an address, asked by the routing table.
func (p *passing) server(addr netip.AddrPort) *server {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.of[addr]
	if s == nil {
		if len(p.of) >= maxPassing {
			for _, old := range p.of {
				old.hangUp()
			}
			clear(p.of)
		}
		s = &server{name: addr.String(), addresses: []netip.AddrPort{addr}, protocol: config.DNSOverUDP, learnt: newLearnt()}
		p.of[addr] = s
	}
	return s
}

// sweep closes the sockets that waited too long.
func (p *passing) sweep(now time.Time) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.of {
		s.sweep(now)
	}
}

// hangUp closes all that wait.
func (p *passing) hangUp() { p.sweep(time.Now().Add(socketAge)) }
