package outbound

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// Hit is how often one thing of the configuration had a new connection.
type Hit = traffic.Hit

// The kinds of hits.
const (
	HitServer      = traffic.HitServer
	HitRule        = traffic.HitRule
	HitGroup       = "linkGroup"
	HitLink        = "link"
	HitPersistence = traffic.HitPersistence
)

// What became of connections that were counted.
const (
	Taken   = traffic.Taken
	Limited = traffic.Limited
	Dropped = traffic.Dropped
	None    = traffic.None
	Waiting = traffic.Waiting // of a link group: all its links were busy, and the action goes on then
	Full    = traffic.Full
	Inbound = "inbound" // of a link: it came in by it
)

// Hits gives what is counted, in the order of the configuration, with what is at
// 0: that nothing came is news too. nil: nothing is balanced.
func (o *Outbound) Hits() ([]Hit, error) {
	p := o.Plan()
	if p == nil {
		return nil, nil
	}
	list := p.hits()
	if err := o.hits.Read(o.opts.Kernel, Table, list, time.Now()); err != nil {
		return nil, err
	}
	return list, nil
}

// hits lists what is counted, by the names that the compiled rules count by.
func (p *Plan) hits() (list []Hit) {
	add := func(kind, name, what, does, counter string) {
		list = append(list, Hit{Kind: kind, Name: name, What: what, Does: does, From: traffic.Counted{Counter: counter}})
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

// watch tells of limits that are reached, and of groups that have no link for
// somebody. The lock is held.
func (o *Outbound) watch(now time.Time) {
	defer o.spells.End(Owner, now, o.opts.Board.Record)
	if now.Before(o.watches) {
		return
	}
	o.watches = now.Add(hitsEvery)
	list := o.plan.hits()
	if err := o.hits.Read(o.opts.Kernel, Table, list, now); err != nil {
		o.opts.Log.Debug("counters cannot be read", "err", err)
		return
	}
	o.hits.Forget(list)
	grew := o.hits.Grew()
	for _, h := range list {
		n := grew[h.From]
		if n == 0 {
			continue
		}
		switch {
		case h.Kind == HitServer && h.What == Limited:
			o.spell(limitOfServer(h.Name), n, now)
		case h.Kind == HitLink && h.What == Full:
			o.spell(limitOfLink(h.Name), n, now)
		case h.Kind == HitGroup && h.What == None:
			name, _, _ := strings.Cut(h.Name, "+")
			o.spell(noLink(name), n, now)
		}
	}
}

// ServerRow names a virtual server of outbound in events: those that answers
// carry have rows of the same name.
func ServerRow(name string) status.ID { return status.MakeID("outboundVirtualServer", name) }
