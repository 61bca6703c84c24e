package topology

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/portolan-lb/portolan/config"
)

// Finding is why a client has its class: what is known of it and which rules
// match, in order.
type Finding struct {
	Client    netip.Addr   `json:"client"`
	Network   netip.Prefix `json:"network"` // the largest around the client with this class throughout
	Class     Class        `json:"class"`
	Databases []Record     `json:"databases,omitempty"` // in the order of the configuration
	ISPs      []string     `json:"isps,omitempty"`      // in the order of the configuration
	Regions   []string     `json:"regions,omitempty"`   // those that a region refers to come before it
	Rules     []RuleMatch  `json:"rules,omitempty"`     // the best first
}

// Record is what one geo database says of a client. A field that it is silent
// on is empty.
type Record struct {
	File         string       `json:"file"`
	Network      netip.Prefix `json:"network,omitzero"` // as the database has it
	Continent    string       `json:"continent,omitempty"`
	Country      string       `json:"country,omitempty"`
	Subdivisions []string     `json:"subdivisions,omitempty"`
	City         string       `json:"city,omitempty"`
	ASN          uint32       `json:"asn,omitempty"`
	Error        string       `json:"error,omitempty"` // the record could not be read
}

// RuleMatch is a rule that matches a client.
type RuleMatch struct {
	Index    int          `json:"index"` // in the configuration's topology list
	Pos      config.Pos   `json:"pos"`
	Region   string       `json:"region,omitempty"` // empty: a rule for one prefix or every client
	Network  netip.Prefix `json:"network,omitzero"` // the configured prefix that matched; none where a database decides
	Length   int          `json:"length"`           // of Network; 0 where a database decides
	Priority int          `json:"priority"`
	Prefer   config.Place `json:"prefer"`
}

// Explain tells how Lookup comes to its answer. It judges the client anew from
// the databases and prefixes, with the same code that filled the table. Any
// number of goroutines may call it. addr must be valid and, if IPv4, not in
// IPv6 form; the Finding of the zero Addr is empty.
func (t *Table) Explain(addr netip.Addr) Finding {
	if !addr.IsValid() {
		return Finding{}
	}
	addr = addr.WithZone("")
	f := Finding{Client: addr}
	class, bits := t.Lookup(addr)
	f.Class = class
	f.Network, _ = addr.Prefix(bits)
	v := t.plan.view()
	f.Databases = t.consult(addr, v)
	prefixes := &t.prefixes6
	if addr.Is4() {
		prefixes = &t.prefixes4
	}
	v.learn(t.profiles.list[prefixes.at(keyOf(addr))])
	for _, m := range t.plan.judge(v) {
		f.Rules = append(f.Rules, describe(m, addr))
	}
	f.ISPs, f.Regions = t.plan.names(v)
	return f
}

// consult asks every database, and adds the facts that the first one with each
// field makes hold.
func (t *Table) consult(addr netip.Addr, v *view) []Record {
	var out []Record
	var said [fieldCount]bool
	for _, d := range t.databases {
		r, network, err := d.lookup(addr)
		shown := Record{File: d.shown, Network: network}
		if err != nil {
			shown.Error = err.Error()
			r = new(record)
		}
		shown.fill(r)
		out = append(out, shown)
		for f, values := range r {
			if len(values) == 0 || said[f] {
				continue
			}
			said[f] = true
			for _, fact := range t.geo.factsOf(field(f), values) {
				v.learn([]known{{fact: fact}})
			}
		}
	}
	return out
}

func (out *Record) fill(r *record) {
	out.Continent = strings.Join(r[fieldContinent], "")
	out.Country = strings.Join(r[fieldCountry], "")
	out.Subdivisions = r[fieldSubdivision]
	out.City = strings.Join(r[fieldCity], "")
	if asn, err := strconv.ParseUint(strings.Join(r[fieldASN], ""), 10, 32); err == nil {
		out.ASN = uint32(asn)
	}
}

// names gives the ISPs and regions that hold in a judged view.
func (p *plan) names(v *view) (isps, regions []string) {
	for _, isp := range p.isps {
		if v.facts[isp.fact] != noMatch {
			isps = append(isps, isp.name)
		}
	}
	for i, r := range p.regions {
		if v.regions[i] != noMatch {
			regions = append(regions, r.name)
		}
	}
	return isps, regions
}

func describe(m match, addr netip.Addr) RuleMatch {
	conf := m.rule.conf
	out := RuleMatch{
		Index: m.rule.index, Pos: conf.Pos, Region: conf.Region,
		Length: m.bits, Priority: conf.Priority, Prefer: conf.Prefer,
	}
	if m.bits > 0 {
		out.Network, _ = addr.Prefix(m.bits)
	}
	return out
}
