package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

// One function a kind: what get shows of one thing, a cell a column.

func poolRow(p api.Pool, _ getOptions) []string {
	state := p.State
	switch {
	case p.Waiting:
		state = "waiting"
	case p.Lapsed:
		state += " busy"
	case p.Panic:
		state += " panic"
	}
	return []string{p.Name, state, fmt.Sprintf("%d: %s", len(p.Active), orDash(strings.Join(p.Active, " "))), fmt.Sprint(p.Members),
		strings.Join(p.Slots, ", "), strings.Join(p.Names, " ")}
}

func memberRow(m api.Member, _ getOptions) []string {
	active := "no"
	if m.Active {
		active = "yes"
	}
	return []string{m.Pool, m.Name, m.State, active, fmt.Sprint(m.Weight), fmt.Sprint(m.Priority), m.Why}
}

func virtualServerRow(v api.VirtualServer, o getOptions) []string {
	addrs := make([]string, len(v.Addresses))
	for i, a := range v.Addresses {
		addrs[i] = a.String()
	}
	state, why, connections := stateOf(v.Row), evidence(v.Row), ""
	if s := v.Serve; s != nil {
		if !s.Enabled {
			state = "off"
		}
		if s.Number > 0 {
			connections = count(s.Connections, true)
		}
		if s.Why != "" && v.Row.Hold == nil && v.Row.Load() == "" {
			why = s.Why
		}
	}
	return []string{v.Name, state, age(v.Row.Since, o.now), strings.Join(addrs, " "), v.Site, v.Link, servesText(v.Serve), connections, why}
}

func siteRow(s api.Site, o getOptions) []string {
	return []string{s.Name, stateOf(s.Row), age(s.Row.Since, o.now), strings.Join(s.VirtualServers, " "), evidence(s.Row)}
}

func probeRow(h probe.History, o getOptions) []string {
	state := h.Health.String()
	if h.Waiting {
		state = "waiting"
	}
	return []string{h.Probe, h.Target, h.Kind, state, age(h.Since, o.now), h.Saw}
}

func zoneRow(z api.Zone, _ getOptions) []string {
	return []string{z.Label(), z.State, fmt.Sprint(z.Serial), fmt.Sprint(z.Records), fmt.Sprint(len(z.Names)), z.Origin, z.File, z.Error}
}

func holdRow(h api.Hold, _ getOptions) []string {
	return []string{string(h.ID), h.State.String(), until(h.Hold), h.By, h.Reason}
}

func eventRow(e status.Event, _ getOptions) []string {
	change := e.New
	if e.Old != "" {
		change = e.Old + " -> " + e.New
	}
	return []string{e.Time.Local().Format(time.RFC3339), string(e.ID), change, e.By, e.Why}
}

// stateOf is a row's state in a word or two, with the operator's word on it.
func stateOf(r status.Row) string {
	state := r.Health.String()
	if r.Waiting {
		state = "waiting"
	}
	state += before(" ", r.Load())
	if r.Hold != nil {
		state += " (held " + r.Hold.State.String() + ")"
	}
	return state
}

func evidence(r status.Row) string {
	switch {
	case r.Hold != nil:
		return "held by " + r.Hold.By + ": " + r.Hold.Reason
	case r.Load() != "":
		return r.LoadWhy + before("; ", r.Why)
	}
	return r.Why
}
