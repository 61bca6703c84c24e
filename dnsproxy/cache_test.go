package dnsproxy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// kept makes an answer of so many seconds.
func kept(t testing.TB, name string, ttl uint32) (*asking, *answer) {
	t.Helper()
	a := &asking{name: string(wireName(name)), qtype: dns.TypeA, rd: true}
	m := good(question(dns.Fqdn(name), dns.TypeA))
	m.Answer[0].Header().Ttl = ttl
	ans, err := rebuild(pack(m), a)
	if err != nil {
		t.Fatal(err)
	}
	return a, ans
}

func wireName(name string) []byte {
	var b [maxName]byte
	n, err := dns.PackDomainName(strings.ToLower(dns.Fqdn(name)), b[:], 0, nil, false)
	if err != nil {
		panic(err)
	}
	return slices.Clone(b[:n])
}

func (a *asking) key(view uint32) []byte {
	return cacheKey(nil, view, []byte(a.name), a.qtype, a.rd, a.do, a.cd)
}

// slowCache is the cache's twin for one shard: the rules as they are told, over
// one slice.
type slowCache struct {
	rules cacheRules
	limit int64
	all   []*slowEntry // the one used last comes first
}

type slowEntry struct {
	key, zone   string
	size        int64
	main        bool
	stored, ttl int64
}

func (s *slowCache) find(key string) int {
	return slices.IndexFunc(s.all, func(e *slowEntry) bool { return e.key == key })
}

func (s *slowCache) front(i int) {
	e := s.all[i]
	s.all = slices.Insert(slices.Delete(s.all, i, i+1), 0, e)
}

func (s *slowCache) get(key string, now int64) (found, stale bool) {
	i := s.find(key)
	if i < 0 {
		return false, false
	}
	switch e := s.all[i]; {
	case now < e.stored+e.ttl:
		e.main = true
		s.front(i)
		return true, false
	case now < e.stored+e.ttl+int64(s.rules.old):
		return true, true
	}
	s.all = slices.Delete(s.all, i, i+1)
	return false, false
}

func (s *slowCache) sum(in func(*slowEntry) bool) (n int64) {
	for _, e := range s.all {
		if in(e) {
			n += e.size
		}
	}
	return n
}

func (s *slowCache) evict(in func(*slowEntry) bool) bool {
	for i := len(s.all) - 1; i >= 0; i-- {
		if in(s.all[i]) {
			s.all = slices.Delete(s.all, i, i+1)
			return true
		}
	}
	return false
}

func (s *slowCache) put(e *slowEntry) {
	if i := s.find(e.key); i >= 0 {
		e.main = s.all[i].main
		s.all = slices.Delete(s.all, i, i+1)
	}
	s.all = slices.Insert(s.all, 0, e)
	zone := func(o *slowEntry) bool { return o.zone == e.zone }
	for s.sum(zone) > s.limit/zoneShare {
		s.evict(zone)
	}
	once := func(o *slowEntry) bool { return !o.main }
	for s.sum(func(*slowEntry) bool { return true }) > s.limit {
		if !(s.sum(once) > s.limit/probationShare && s.evict(once)) && !s.evict(func(o *slowEntry) bool { return o.main }) {
			s.evict(once)
		}
	}
}

func TestCacheTwin(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		rules := cacheRules{bytes: 16 * 12_000, minTTL: 2, maxTTL: 100, negative: 50, old: uint32(seed % 3 * 20)}
		c := newCache(rules)
		twins := map[*shard]*slowCache{}
		now := time.Unix(1_000_000, 0)
		for step := range 4000 {
			now = now.Add(time.Duration(r.IntN(2)) * time.Second)
			zone := r.IntN(60)
			if r.IntN(3) == 0 {
				zone = 0 // somebody makes up names below it
			}
			a, ans := kept(t, fmt.Sprintf("n%d.zone%d.example", r.IntN(2+60/(1+zone)), zone), uint32(r.IntN(60)))
			// example is no country, so the zone is zoneN.example.
			key := a.key(uint32(r.IntN(2)))
			s := c.shard(key)
			twin := twins[s]
			if twin == nil {
				twin = &slowCache{rules: rules, limit: rules.bytes / cacheShards}
				twins[s] = twin
			}
			if r.IntN(2) == 0 {
				got := c.get(key, now)
				found, stale := twin.get(string(key), now.Unix())
				if (got.answer != nil) != found || got.stale != stale {
					t.Fatalf("seed %d step %d: get found %v stale %v, the twin %v %v", seed, step, got.answer != nil, got.stale, found, stale)
				}
				continue
			}
			c.put(key, ans, now)
			ttl := min(max(ans.ttl, rules.minTTL), rules.maxTTL)
			twin.put(&slowEntry{key: string(key), zone: fmt.Sprintf("zone%d.example", zone), stored: now.Unix(), ttl: int64(ttl),
				size: int64(entryOverhead + len(key) + len(ans.wire) + recordOverhead*len(ans.records))})
			if s.bytes > twin.limit || s.bytes != twin.sum(func(*slowEntry) bool { return true }) || len(s.byKey) != len(twin.all) {
				t.Fatalf("seed %d step %d: %d octets in %d entries, the twin %d", seed, step, s.bytes, len(s.byKey), len(twin.all))
			}
		}
		if c.evicted.Load() == 0 {
			t.Fatal("nothing was evicted: the test is too small")
		}
	}
}

// A flood of names made up below one zone, or of zones made up, leaves what is
// asked for again and again in the cache (reliability 2.2: random subdomains).
func TestCacheFlood(t *testing.T) {
	for _, many := range []bool{false, true} {
		c := newCache(cacheRules{bytes: 4 << 20, maxTTL: 3600, negative: 900})
		now := time.Unix(1_000_000, 0)
		r := rand.New(rand.NewPCG(1, 2))
		var good [1000]struct {
			key []byte
			ans *answer
		}
		for i := range good {
			a, ans := kept(t, fmt.Sprintf("www.good%d.example", i), 3000)
			good[i].key, good[i].ans = a.key(1), ans
			c.put(good[i].key, ans, now)
			c.get(good[i].key, now)
		}
		_, made := kept(t, "x.victim.example", 3000)
		hits, asked := 0, 0
		for i := range 200_000 {
			name := fmt.Sprintf("r%d.victim.example", i)
			if many {
				name = fmt.Sprintf("www.r%d.example", i)
			}
			a := asking{name: string(wireName(name)), qtype: dns.TypeA, rd: true}
			c.put(a.key(1), made, now)
			if i%20 == 0 {
				g := &good[r.IntN(len(good))]
				asked++
				if c.get(g.key, now).answer != nil {
					hits++
				} else {
					c.put(g.key, g.ans, now)
				}
			}
		}
		if hits*100 < asked*90 {
			t.Errorf("zones made up %v: %d hits of %d", many, hits, asked)
		}
		if st := c.stats(); st.Bytes > st.Limit {
			t.Errorf("%+v", st)
		}
	}
}

// views of different pools do not mix, nor do DO and CD.
func TestCacheKeys(t *testing.T) {
	c := newCache(cacheRules{bytes: 1 << 20, maxTTL: 3600})
	now := time.Unix(1_000_000, 0)
	a, ans := kept(t, "www.example.com", 300)
	c.put(a.key(1), ans, now)
	name := []byte(a.name)
	for _, key := range [][]byte{
		cacheKey(nil, 2, name, dns.TypeA, true, false, false), cacheKey(nil, 1, name, dns.TypeAAAA, true, false, false),
		cacheKey(nil, 1, name, dns.TypeA, false, false, false), cacheKey(nil, 1, name, dns.TypeA, true, true, false),
		cacheKey(nil, 1, name, dns.TypeA, true, false, true), cacheKey(nil, 1, wireName("ww.example.com"), dns.TypeA, true, false, false)} {
		if c.get(key, now).answer != nil {
			t.Errorf("%x is answered by %x", key, a.key(1))
		}
	}
	if c.get(a.key(1), now).answer == nil {
		t.Error("and its own is not")
	}
}

// cached gives a world with a cache of these rules.
func cached(t *testing.T, f *fake, rules config.DNSCache) *world {
	return newWorld(t, []*fake{f}, func(m *config.Model) {
		rules.Size = 1 << 20
		if rules.MaxTTL == 0 {
			rules.MaxTTL = config.Duration(time.Hour)
		}
		m.DNSProxy.Cache, m.DNSProxy.Retries, m.DNSProxy.Timeout = rules, 0, config.Duration(time.Second) // below staleWait
	})
}

// age makes what is in the cache older, and lets it be renewed.
func (w *world) age(seconds int64) {
	c := w.proxy.Plan().cache
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, e := range s.byKey {
			e.stored, e.recheck = e.stored-seconds, 0
		}
		s.mu.Unlock()
	}
}

// A hit costs no query, is told in the letters and with the id of who asks, and
// its TTL goes down.
func TestCacheServes(t *testing.T) {
	f := newFake(t)
	w := cached(t, f, config.DNSCache{})
	w.ask("udp", question("www.example.com.", dns.TypeA))
	w.age(100)
	for _, network := range []string{"udp", "tcp"} {
		q := question("WWW.example.COM.", dns.TypeA)
		q.SetEdns0(1232, false)
		r := w.ask(network, q)
		if address(r) != "192.0.2.1" || r.Answer[0].Header().Name != "WWW.example.COM." || r.Question[0].Name != "WWW.example.COM." || r.Id != q.Id || r.IsEdns0() == nil {
			t.Errorf("%s", r)
		}
		if ttl := r.Answer[0].Header().Ttl; ttl < 190 || ttl > 200 {
			t.Errorf("TTL %d", ttl)
		}
	}
	if n := f.asks.Load(); n != 1 {
		t.Errorf("%d queries", n)
	}
	if s := w.proxy.Stats(); s.Hits != 2 || s.Cache.Entries != 1 {
		t.Errorf("%+v", s)
	}
}

// RFC 2308: that there is nothing is kept for as long as the SOA says, within
// bounds, and not at all without one.
func TestNegative_RFC2308(t *testing.T) {
	soa := func(ttl, minimum uint32) dns.RR {
		return &dns.SOA{Hdr: dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl}, Ns: "a.example.com.", Mbox: "b.example.com.", Minttl: minimum}
	}
	cname := &dns.CNAME{Hdr: dns.RR_Header{Name: "www.example.com.", Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 7}, Target: "gone.example.com."}
	for _, c := range []struct {
		name   string
		rcode  int
		answer []dns.RR
		soa    dns.RR
		want   uint32
	}{
		{"NXDOMAIN, by the minimum", dns.RcodeNameError, nil, soa(600, 100), 100},
		{"NXDOMAIN, by the SOA's TTL", dns.RcodeNameError, nil, soa(50, 100), 50},
		{"NODATA", dns.RcodeSuccess, nil, soa(600, 100), 100},
		{"our bound", dns.RcodeNameError, nil, soa(90000, 90000), 300},
		{"no SOA", dns.RcodeNameError, nil, nil, 0},
		{"NODATA without SOA: a referral", dns.RcodeSuccess, nil, nil, 0},
		{"a chain that ends in nothing", dns.RcodeNameError, []dns.RR{cname}, soa(600, 100), 7},
		{"a chain without an end", dns.RcodeSuccess, []dns.RR{cname}, nil, 0},
		{"another rcode", dns.RcodeYXDomain, nil, soa(600, 100), 0},
	} {
		q := question("www.example.com.", dns.TypeA)
		m := new(dns.Msg)
		m.SetRcode(q, c.rcode)
		m.Answer = c.answer
		if c.soa != nil {
			m.Ns = []dns.RR{c.soa}
		}
		ans, err := rebuild(pack(m), &asking{name: string(wireName("www.example.com.")), qtype: dns.TypeA, rd: true})
		if err != nil {
			t.Fatal(err)
		}
		cache := newCache(cacheRules{bytes: 1 << 20, maxTTL: 86400, negative: 300, minTTL: 1})
		if got := cache.lifetime(ans); got != c.want {
			t.Errorf("%s: kept %d s, want %d", c.name, got, c.want)
		}
	}
}

// RFC 8767: when servers fail, what is over is given with a TTL of 30, at once
// while a try to renew it has just failed; and it is renewed when they are back.
func TestStale_RFC8767(t *testing.T) {
	f := newFake(t)
	w := cached(t, f, config.DNSCache{Stale: config.Duration(time.Hour)})
	w.ask("udp", question("www.example.com.", dns.TypeA))
	w.age(400)
	f.over(nil, nil)
	for range 3 {
		q := question("www.example.com.", dns.TypeA)
		q.SetEdns0(1232, false)
		r := w.ask("udp", q)
		if address(r) != "192.0.2.1" || r.Answer[0].Header().Ttl != 30 || r.IsEdns0() == nil || len(r.IsEdns0().Option) != 1 {
			t.Fatalf("%s", r)
		}
	}
	if n := f.asks.Load(); n != 2 {
		t.Errorf("%d queries, want 2: the next tries wait", n)
	}
	f.over(goodAnswer, goodAnswer)
	w.age(0)
	if r := w.ask("udp", question("www.example.com.", dns.TypeA)); r.Answer[0].Header().Ttl != 300 {
		t.Errorf("not renewed: %s", r)
	}
	w.age(300 + 3600 + 1)
	f.over(nil, nil)
	if r := w.ask("udp", question("www.example.com.", dns.TypeA)); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("beyond its age: %s", r)
	}
}

// What nobody answers is SERVFAIL for a moment, and nobody is asked meanwhile.
func TestServfailIsKept_RFC9520(t *testing.T) {
	f := newFake(t)
	f.over(nil, nil)
	w := cached(t, f, config.DNSCache{})
	for range 5 {
		if r := w.ask("udp", question("www.example.com.", dns.TypeA)); r.Rcode != dns.RcodeServerFailure {
			t.Fatalf("%s", r)
		}
	}
	if n := f.asks.Load(); n != 1 {
		t.Errorf("%d queries", n)
	}
}

// minTTL and maxTTL bound what is kept and what clients are told.
func TestTTLBounds(t *testing.T) {
	for _, c := range []struct{ ttl, min, max, want uint32 }{{10, 60, 3600, 60}, {9000, 0, 3600, 3600}, {100, 60, 3600, 100}, {0, 0, 3600, 0}, {1 << 31, 0, 3600, 0}} {
		cache := newCache(cacheRules{bytes: 1 << 20, minTTL: c.min, maxTTL: c.max})
		a, ans := kept(t, "www.example.com", c.ttl)
		now := time.Unix(1_000_000, 0)
		cache.put(a.key(1), ans, now)
		got := cache.get(a.key(1), now)
		if (got.answer != nil) != (c.want > 0) {
			t.Errorf("TTL %d in %d to %d: kept %v", c.ttl, c.min, c.max, got.answer != nil)
		}
		if got.answer == nil {
			continue
		}
		q := &query{}
		q.parse(pack(question("www.example.com.", dns.TypeA)))
		m := new(dns.Msg)
		if err := m.Unpack(q.appendReply(nil, got.answer, served{hit: true})); err != nil || m.Answer[0].Header().Ttl != c.want {
			t.Errorf("TTL %d in %d to %d: told %v %v", c.ttl, c.min, c.max, m, err)
		}
	}
}

// The cache outlives a change of the configuration that leaves the pool's
// servers alone, and not one that does not.
func TestCacheOverReload(t *testing.T) {
	f, g := newFake(t), newFake(t)
	w := cached(t, f, config.DNSCache{})
	w.ask("udp", question("www.example.com.", dns.TypeA))
	w.model.DNSProxy.Policies = []*config.DNSPolicy{{Domains: []string{"x.example."}, Action: config.DNSAction{Do: config.DNSDrop}}}
	w.use()
	w.ask("udp", question("www.example.com.", dns.TypeA))
	if n := f.asks.Load(); n != 1 {
		t.Fatalf("%d queries: the cache was lost", n)
	}
	w.model.DNSServers = []*config.DNSServer{{Name: "s1", Addresses: w.model.DNSServers[0].Addresses, Port: g.addr.Port(), Link: "l1", Protocol: "udp"}}
	w.use()
	w.ask("udp", question("www.example.com.", dns.TypeA))
	if n := g.asks.Load(); n != 1 {
		t.Errorf("%d queries to the new server: the old one's answer was given", n)
	}
}
