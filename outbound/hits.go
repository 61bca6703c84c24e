package outbound

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// Hit is how often one thing of the configuration had a new connection (FAQ
// 1.1.2): which virtual server and which rule took it, and what became of it. The
// counters are the kernel's. They go on over restarts of this program, as long as
// the thing keeps its name, and begin at 0 when the machine starts.
type Hit struct {
	Kind string `json:"kind"`           // one of the kinds below
	Name string `json:"name"`           // a rule's is POLICY/NUMBER, or POLICY/default
	What string `json:"what"`           // one of the outcomes below
	Does string `json:"does,omitempty"` // what is configured for it, in a few words

	// Connections counts first packets: a connection once, one that is refused
	// each time that it is tried again. Octets are those of these packets.
	Connections uint64    `json:"connections"`
	Octets      uint64    `json:"octets"`
	Last        time.Time `json:"last,omitzero"` // when it was seen to move, within [hitsEvery]; zero: not since we started

	counter string
}

// The kinds of hits.
const (
	HitServer      = "virtualServer"
	HitRule        = "rule"
	HitGroup       = "linkGroup"
	HitLink        = "link"
	HitPersistence = "persistence"
)

// What became of connections that were counted.
const (
	Taken   = "taken"   // it was the thing's turn
	Limited = "limited" // of a virtual server: refused by its limits or its limit policy
	Dropped = "dropped" // of a virtual server: an action said so, or no link was found
	None    = "none"    // of a link group: none of its links could take it
	Waiting = "busy"    // of a link group: all its links were busy, and the action goes on then
	Full    = "full"    // of a link: it was at a limit; another one was tried
	Inbound = "inbound" // of a link: it came in by it
)

// Hits gives what is counted, in the order of the configuration, with what is at
// 0: that nothing came is news too. nil: nothing is balanced.
func (o *Outbound) Hits() ([]Hit, error) {
	p := o.Plan()
	if p == nil {
		return nil, nil
	}
	if err := o.hits.read(o.opts.Kernel, time.Now()); err != nil {
		return nil, err
	}
	list := p.hits()
	o.hits.mu.Lock()
	defer o.hits.mu.Unlock()
	for i := range list {
		s := o.hits.seen[list[i].counter]
		list[i].Connections, list[i].Octets, list[i].Last = s.Packets, s.Octets, s.moved
	}
	return list, nil
}

// hits lists what is counted, by the names that the compiled rules count by.
func (p *Plan) hits() (list []Hit) {
	add := func(kind, name, what, does, counter string) {
		list = append(list, Hit{Kind: kind, Name: name, What: what, Does: does, counter: counter})
	}
	for _, v := range p.conf.VirtualServers {
		if !v.Enabled {
			continue
		}
		w := traffic.Word(v.Name)
		add(HitServer, v.Name, Taken, matchText(v), "virtualServer/"+w)
		if limited(v) {
			add(HitServer, v.Name, Limited, "over its limits", "limited/"+w)
		}
		add(HitServer, v.Name, Dropped, "by an action, or for want of a link", "dropped/"+w)
	}
	for _, q := range p.conf.Policies {
		for i, r := range q.Rules {
			when := "everything"
			if r.Class != "" {
				when = "class " + r.Class
			}
			add(HitRule, fmt.Sprintf("%s/%d", q.Name, i+1), Taken, when+": "+actionText(&r.Action), fmt.Sprintf("rule/%s/%d", traffic.Word(q.Name), i+1))
		}
		if q.Default != nil {
			add(HitRule, q.Name+"/default", Taken, "what no rule took: "+actionText(q.Default), "rule/"+traffic.Word(q.Name)+"/default")
		}
	}
	for _, v := range p.variants {
		add(HitGroup, v.Name, Taken, string(v.Group.Algorithm), "group/"+v.word)
		add(HitGroup, v.Name, None, "no link could take it", "group/"+v.word+"/none")
		if v.Strict {
			add(HitGroup, v.Name, Waiting, "all links were busy", "group/"+v.word+"/busy")
		}
	}
	for _, l := range p.links {
		add(HitLink, l.Name, Taken, "left by it", "link/"+l.word)
		add(HitLink, l.Name, Full, "was at a limit", "link/"+l.word+"/full")
		if p.conf.KeepLastHop {
			add(HitLink, l.Name, Inbound, "came in by it", "link/"+l.word+"/in")
		}
	}
	for _, s := range p.model.Persistence {
		if slices.ContainsFunc(p.variants, func(v *Variant) bool { return slices.Contains(v.sticks, s.Name) }) {
			add(HitPersistence, s.Name, Taken, "kept its link", "persistence/"+traffic.Word(s.Name))
		}
	}
	return list
}

// matchText is what a virtual server takes, and whom it asks.
func matchText(v *config.OutboundVirtualServer) string {
	var parts []string
	if len(v.Destinations) > 0 && v.Destinations[0].Bits() > 0 {
		parts = append(parts, "to "+first(v.Destinations))
	}
	if v.Protocol != config.ProtocolAny {
		parts = append(parts, string(v.Protocol))
	}
	if len(v.Ports) > 0 {
		parts = append(parts, "port "+first(v.Ports))
	}
	if len(parts) == 0 {
		parts = append(parts, "everything")
	}
	then := "link group " + v.LinkGroup
	if v.Policy != "" {
		then = "policy " + v.Policy
	}
	return strings.Join(parts, " ") + ": " + then
}

func actionText(a *config.PolicyAction) string {
	if a.Do != "" {
		return string(a.Do)
	}
	text := "link group " + a.LinkGroup
	if a.Backup != "" {
		text += ", backup " + a.Backup
	}
	if a.Persistence != "" {
		text += ", persistence " + a.Persistence
	}
	return text
}

// first is the first of a list, and how many more there are.
func first[T fmt.Stringer](list []T) string {
	if len(list) == 1 {
		return list[0].String()
	}
	return fmt.Sprintf("%s +%d", list[0], len(list)-1)
}

// hitsEvery is how often the counters are looked at, so that it is known when they
// moved last, and that limits that are reached are told.
const hitsEvery = 5 * time.Second

// counters is what the kernel's counters said.
type counters struct {
	mu   sync.Mutex
	seen map[string]reading
	next time.Time
}

type reading struct {
	kernel.Counted
	moved time.Time
	grew  uint64 // packets between the last look of [Outbound.watch] and the one before
}

// read looks at the counters. One that was not there before has not moved yet:
// it may be hours old.
func (c *counters) read(k Kernel, now time.Time) error {
	all, err := k.Counts(Table)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := make(map[string]reading, len(all))
	for name, is := range all {
		was, known := c.seen[name]
		n := reading{Counted: is, moved: was.moved, grew: was.grew}
		if known && was.Counted != is {
			n.moved = now
			if n.grew += is.Packets - was.Packets; is.Packets < was.Packets { // it was made anew
				n.grew = is.Packets
			}
		}
		seen[name] = n
	}
	c.seen = seen
	return nil
}

// grew gives by how much counters grew since it was asked last.
func (c *counters) grew() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]uint64{}
	for name, s := range c.seen {
		if s.grew > 0 {
			all[name] = s.grew
			s.grew = 0
			c.seen[name] = s
		}
	}
	return all
}

// watch tells of limits that are reached, and of groups that have no link for
// somebody. The lock is held.
func (o *Outbound) watch(now time.Time) {
	defer o.spells.over(now, o.opts.Board.Record)
	if now.Before(o.hits.next) {
		return
	}
	o.hits.next = now.Add(hitsEvery)
	if err := o.hits.read(o.opts.Kernel, now); err != nil {
		o.opts.Log.Debug("counters cannot be read", "err", err)
		return
	}
	grew := o.hits.grew()
	for _, h := range o.plan.hits() {
		n := grew[h.counter]
		if n == 0 {
			continue
		}
		switch {
		case h.Kind == HitServer && h.What == Limited:
			o.spells.seen(spell{id: ServerRow(h.Name), what: limitReached, tried: n}, now, o.opts.Board.Record)
		case h.Kind == HitLink && h.What == Full:
			o.spells.seen(spell{id: status.MakeID(status.KindLink, h.Name), what: limitReached, tried: n}, now, o.opts.Board.Record)
		case h.Kind == HitGroup && h.What == None:
			name, _, _ := strings.Cut(h.Name, "+")
			o.spells.seen(spell{id: status.MakeID(status.KindLinkGroup, name), what: noLink, tried: n}, now, o.opts.Board.Record)
		}
	}
}

// ServerRow names a virtual server of outbound in events: those that answers
// carry have rows of the same name.
func ServerRow(name string) status.ID { return status.MakeID("outboundVirtualServer", name) }
