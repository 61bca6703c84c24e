package dnsproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
)

// Ask is a query that might come.
type Ask struct {
	Client netip.Addr
	Asked  netip.Addr // where it is sent; its port is 53
	Name   string
	Type   uint16
}

// Explanation says what would become of a query now, and why.
type Explanation struct {
	Policy  string        `json:"policy"`            // the rule that takes it, or default; empty of crosses
	Passed  []string      `json:"passed,omitempty"`  // rules that matched and had no usable DNS server
	Action  string        `json:"action"`            // pool, pass, drop, answer, or crosses: Linux does not bring it to the proxy
	Answer  string        `json:"answer,omitempty"`  // of answer
	Pool    string        `json:"pool,omitempty"`    // of pool
	Traces  []*pick.Trace `json:"choice,omitempty"`  // why these servers, a pool each; the last one decided
	Sticky  bool          `json:"sticky,omitempty"`  // persistence chose the first
	Servers []Asked       `json:"servers,omitempty"` // in the order in which they would be asked
	Cache   string        `json:"cache,omitempty"`   // what the cache has of it
	Words   string        `json:"words"`             // all of it, for people
}

// Asked is a DNS server that would be asked, and its way.
type Asked struct {
	Server  string `json:"server"`
	Link    string `json:"link,omitempty"`
	Address string `json:"address,omitempty"` // empty: it cannot be asked now
	Way     string `json:"way"`               // in words
}

// Explain says what would become of a query now, by the code that serves. It
// sends nothing and changes nothing.
func (p *Proxy) Explain(a Ask) (*Explanation, error) {
	plan := p.plan.Load()
	if !plan.Enabled() {
		return nil, errors.New("there is no DNS proxy: queries cross the gateway as they are")
	}
	q, err := a.query()
	if err != nil {
		return nil, err
	}
	if why := crosses(plan.conf, a); why != "" {
		return &Explanation{Action: "crosses", Words: why + ": the query crosses the gateway as if there were no DNS proxy\n"}, nil
	}
	e, now := &Explanation{}, time.Now()
	d := decider{p: p, plan: plan, now: now, draw: func(p *pool) uint64 { return p.draws.Load() }, another: func(*rule) {},
		trace:  func() *pick.Trace { tr := &pick.Trace{}; e.Traces = append(e.Traces, tr); return tr },
		passed: func(r *rule) { e.Passed = append(e.Passed, r.name) }}
	r, c := d.decide(q, plan.match(q, 0))
	e.Policy = r.name
	switch r.action {
	case toNobody:
		e.Action = "drop"
	case toAsked:
		e.Action = "pass"
		e.Servers = []Asked{{Server: q.asked.String(), Address: q.asked.String(), Way: "by the routing table"}}
	case toAnswer:
		e.Action, e.Answer = "answer", r.answer.Code
		if e.Answer == "" {
			e.Answer = strings.Trim(fmt.Sprint(r.answer.Addresses), "[]")
		}
	default:
		e.Action, e.Pool, e.Sticky = "pool", r.pool.name, c.sticky
		e.Servers = p.wouldAsk(c, plan.conf.Retries)
		e.Cache = plan.cache.tell(cacheKey(nil, r.pool.view, q.folded, q.qtype, true, false, false), now)
	}
	e.Words = e.words(c)
	return e, nil
}

// crosses says why the rules that Linux was given leave a query alone; empty:
// they do not. What is the gateway's own address is not known here.
func crosses(conf *config.DNSProxy, a Ask) string {
	for _, p := range conf.Exclude {
		if p.Contains(a.Client.Unmap()) {
			return fmt.Sprintf("exclude has %s, in %s", a.Client, p)
		}
	}
	asked := a.Asked.Unmap()
	has := func(p netip.Prefix) bool { return p.Contains(asked) }
	if !asked.IsValid() || asked.IsUnspecified() || len(conf.Addresses) == 0 || slices.ContainsFunc(conf.Addresses, has) {
		return "" // unspecified: nobody in particular
	}
	return fmt.Sprintf("addresses does not have %s", asked)
}

// TypeText gives the name of the type that is asked for.
func (a Ask) TypeText() string { return dns.Type(a.Type).String() }

// ParseType gives the number of a record type from its name, such as AAAA or
// TYPE65.
func ParseType(name string) (uint16, bool) {
	if t, ok := dns.StringToType[name]; ok {
		return t, true
	}
	digits, ok := strings.CutPrefix(name, "TYPE") // RFC 3597
	n, err := strconv.ParseUint(digits, 10, 16)
	return uint16(n), ok && err == nil
}

// query makes the query that a client would send.
func (a Ask) query() (*query, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(a.Name), a.Type)
	wire, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", a.Name, err)
	}
	q := &query{client: netip.AddrPortFrom(a.Client.Unmap(), 1024), asked: netip.AddrPortFrom(a.Asked.Unmap(), 53)}
	switch v := q.parse(wire); {
	case !a.Client.IsValid():
		return nil, errors.New("client is missing")
	case v != isQuery:
		return nil, fmt.Errorf("a query for %s %s is answered %s, whatever the policies", a.Name, dns.Type(a.Type), rcodeText(int(v)))
	}
	return q, nil
}

// wouldAsk gives the servers of a choice, in the order of trying.
func (p *Proxy) wouldAsk(c *choice, retries int) (asked []Asked) {
	for try := 0; try <= retries; {
		s := c.next(false)
		if s == nil {
			return asked
		}
		w, ok := p.wayTo(s, try)
		a := Asked{Server: s.name, Link: s.link, Way: "by the routing table"}
		switch {
		case !ok:
			a.Way = "not asked: its link has no way now, or it has no address that the link reaches"
		case s.link != "":
			a.Way = "by link " + s.link
		}
		if ok {
			try++
			a.Address = w.to.String() + " over " + s.protocol
			if w.pin.Device != "" {
				a.Way += ", interface " + w.pin.Device
			}
			if w.pin.Mark != 0 {
				a.Way += fmt.Sprintf(", mark %#x", w.pin.Mark)
			}
			if w.pin.Source.IsValid() {
				a.Way += ", from " + w.pin.Source.String()
			}
		}
		asked = append(asked, a)
	}
	return asked
}

// tell says what the cache has of a question, without changing it.
func (c *cache) tell(key []byte, now time.Time) string {
	if c == nil {
		return "there is no cache"
	}
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[string(key)]
	if e == nil {
		return "not in the cache"
	}
	left := e.stored + int64(e.ttl) - now.Unix()
	if left <= 0 {
		return fmt.Sprintf("in the cache, over since %d s", -left)
	}
	return fmt.Sprintf("in the cache for %d s more: no DNS server is asked", left)
}

// words puts an explanation into sentences, a line each.
func (e *Explanation) words(c *choice) string {
	var b strings.Builder
	for _, name := range e.Passed {
		fmt.Fprintf(&b, "policy %s matches, but no DNS server of its pool is usable: the next has its turn\n", name)
	}
	rule := "policy " + e.Policy
	if e.Policy == "default" {
		rule = "no policy matches"
	}
	switch e.Action {
	case "drop":
		fmt.Fprintf(&b, "%s: it gets no answer\n", rule)
	case "pass":
		fmt.Fprintf(&b, "%s: it goes to %s, whom the client asked\n", rule, e.Servers[0].Address)
	case "answer":
		fmt.Fprintf(&b, "%s: we answer %s ourselves\n", rule, e.Answer)
	default:
		fmt.Fprintf(&b, "%s: DNS server pool %s (%s)\n", rule, e.Pool, e.Cache)
		switch {
		case c.sticky:
			b.WriteString("persistence: the client keeps its DNS server\n")
		case !c.usable:
			fmt.Fprintf(&b, "no DNS server is usable (%s): those that nobody holds are asked all the same\n", c.reason)
		}
		for i, s := range e.Servers {
			if s.Address == "" {
				fmt.Fprintf(&b, "%d. %s %s\n", i+1, s.Server, s.Way)
				continue
			}
			fmt.Fprintf(&b, "%d. %s at %s, %s\n", i+1, s.Server, s.Address, s.Way)
		}
		if len(e.Servers) == 0 {
			b.WriteString("nobody can be asked: the client gets SERVFAIL\n")
		}
	}
	return b.String()
}
