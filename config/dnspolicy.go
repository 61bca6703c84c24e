package config

import (
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
)

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

// Given says whether there is an answer of our own.
func (a *DNSAnswer) Given() bool { return a.Code != "" || len(a.Addresses) > 0 }

func (a *DNSAction) decodeShort(d *decoder, p *place) {
	if word, _, _ := scalarText(p.node); d.word(p, word, "dnsAction") {
		a.Do = word
	}
}

func (a *DNSAnswer) defaults() { *a = DNSAnswer{TTL: Duration(time.Minute)} }

func (a *DNSAnswer) decodeShort(d *decoder, p *place) {
	d.value(p, reflect.ValueOf(&a.Code).Elem(), "dnsAnswer")
}

// label names a policy in messages: by its name, else its number.
func (p *DNSPolicy) label(i int) string { return or(p.Name, strconv.Itoa(i+1)) }

// checkPolicies checks each policy, and that those before it leave it
// something.
func (p *DNSProxy) checkPolicies(c *checker) {
	c.empty(&p.Policies, len(p.Policies))
	all := ""                    // the policy that takes every query
	taken := map[string]string{} // domains that a policy takes of every client, and its label
	for i, r := range p.Policies {
		c.of(r)
		sound := c.sound(func() { r.check(c) })
		by := r.takenBy(taken)
		switch whole := r.DomainFile == "" && len(r.Domains) == 0; {
		case all != "":
			c.bad(r, "is never reached: policy %s takes every query", all)
		case by != "":
			c.bad(r, "is never reached: policy %s takes its domains already", by)
		case !sound || r.Action.OnFailure == DNSFailureContinue || len(r.Sources) > 0:
		case whole && !c.broken:
			all = r.label(i)
		default:
			for _, d := range r.Domains {
				taken[d] = r.label(i)
			}
		}
	}
	c.of(p)
	if all != "" && c.given(&p.Pool) {
		c.warn(&p.Pool, "is never asked: policy %s takes every query", all)
	}
}

// takenBy gives the policy that takes what this one is for, or "".
func (p *DNSPolicy) takenBy(taken map[string]string) (by string) {
	if p.DomainFile != "" {
		return ""
	}
	for _, d := range p.Domains {
		if by = closestDomain(d, taken); by == "" {
			return ""
		}
	}
	return by
}

// closestDomain looks a canonical name and all that it is below up.
func closestDomain(name string, taken map[string]string) string {
	for {
		if by := taken[name]; by != "" {
			return by
		}
		_, rest, ok := strings.Cut(name, ".")
		switch {
		case !ok || name == ".":
			return ""
		case rest == "":
			rest = "."
		}
		name = rest
	}
}

func (p *DNSPolicy) check(c *checker) {
	if c.given(&p.Name) {
		c.declare("DNS policy", &p.Name)
	}
	c.empty(&p.Domains, len(p.Domains))
	for i := range p.Domains {
		d := &p.Domains[i]
		if short, ok := strings.CutPrefix(*d, "*."); ok {
			c.hinted(d, didYouMean(short), "%s is a wildcard; a name stands for all below it", quote(*d))
			continue
		}
		c.domainName(d)
	}
	distinct(c, p.Domains)
	if c.given(&p.DomainFile) {
		c.exists(&p.DomainFile)
	}
	c.empty(&p.Sources, len(p.Sources))
	distinct(c, p.Sources)
	if c.need(&p.Action, "action") {
		p.Action.check(c)
	}
}

func (a *DNSAction) check(c *checker) {
	if c.places[a].bad {
		return
	}
	c.oneOf(a, []bool{a.Do != "" || c.given(&a.Do), c.given(&a.Pool), c.given(&a.Answer)}, "do, pool, answer")
	if c.given(&a.Pool) {
		c.refer("DNS server pool", &a.Pool)
		a.OnFailure = or(a.OnFailure, DNSFailureServfail)
	} else if c.given(&a.OnFailure) {
		c.bad(&a.OnFailure, "belongs to a pool")
	}
	if c.given(&a.Answer) {
		a.Answer.check(c)
	}
}

func (a *DNSAnswer) check(c *checker) {
	if c.places[a].bad {
		return
	}
	c.oneOf(a, []bool{a.Code != "", c.given(&a.Addresses)}, "code, addresses")
	c.empty(&a.Addresses, len(a.Addresses))
	distinct(c, a.Addresses)
	for i := range a.Addresses {
		if a.Addresses[i].IsMulticast() { // 0.0.0.0 and :: are what blocklists answer
			c.bad(&a.Addresses[i], "%s is a multicast address", a.Addresses[i])
		}
	}
	if a.TTL%Duration(time.Second) != 0 {
		c.bad(&a.TTL, "%v is not a whole number of seconds", a.TTL)
	}
	between(c, &a.TTL, 0, Duration(24*time.Hour))
}
