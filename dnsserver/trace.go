package dnsserver

import (
	"fmt"

	"github.com/portolan-lb/portolan/pick"
)

// Trace collects why a query is answered as it is. The answering code writes
// it as it goes; on a nil Trace every method does nothing.
type Trace struct {
	Lookup    []string         // what the walk through the zones found, in order
	Decisions []*DecisionTrace // one for each dynamic name that took part
}

// DecisionTrace is why a dynamic name was decided as it was.
type DecisionTrace struct {
	Name  string        `json:"name"`
	Pool  string        `json:"pool"`
	Group string        `json:"group"` // names of one group share a decision
	Draw  uint64        `json:"draw"`
	Picks []*pick.Trace `json:"picks,omitempty"` // the pool's own, then those of its onDown ladder
	Notes []string      `json:"notes,omitempty"` // what followed: rungs, families
	Chose []string      `json:"chose,omitempty"` // members whose addresses are answered

	TTL      uint32 `json:"ttl"` // seconds
	TTLWhy   string `json:"ttlWhy"`
	Scope    *int   `json:"scope,omitempty"` // ECS scope in bits; nil without ECS
	ScopeWhy string `json:"scopeWhy,omitempty"`
	Error    string `json:"error,omitempty"` // the extended error's text
}

// note records a step of the walk through the zones.
func (tr *Trace) note(format string, args ...any) {
	if tr != nil {
		tr.Lookup = append(tr.Lookup, fmt.Sprintf(format, args...))
	}
}

func (tr *Trace) decision(c *choosing) *DecisionTrace {
	if tr == nil {
		return nil
	}
	d := &DecisionTrace{Name: c.b.fqdn, Pool: c.b.pool.Name, Group: c.b.group, Draw: c.in.Draw}
	tr.Decisions = append(tr.Decisions, d)
	return d
}

func (d *DecisionTrace) pick() *pick.Trace {
	if d == nil {
		return nil
	}
	p := &pick.Trace{}
	d.Picks = append(d.Picks, p)
	return p
}

func (d *DecisionTrace) note(format string, args ...any) {
	if d != nil {
		d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
	}
}

func (d *DecisionTrace) chose(name string) {
	if d != nil {
		d.Chose = append(d.Chose, name)
	}
}

func (d *DecisionTrace) ttl(seconds uint32, why string) {
	if d != nil {
		d.TTL, d.TTLWhy = seconds, why
	}
}

func (d *DecisionTrace) scope(bits, leaf, width int) {
	if d == nil {
		return
	}
	d.Scope = &bits
	d.ScopeWhy = fmt.Sprintf("shortest prefix with the same shares now; the topology leaf is /%d", leaf)
	if width > 0 {
		d.ScopeWhy += fmt.Sprintf(", the algorithm looks at %d bits", width)
	}
	if bits == 0 {
		d.ScopeWhy = "every client has the same shares now"
	}
}

func (d *DecisionTrace) done(c *choosing) {
	if d != nil {
		d.Error = c.d.text
	}
}
