package main

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/portolan-lb/portolan/api"
)

var linkHeader = []string{"LINK", "STATE", "FOR", "LOADED FOR", "IN", "OUT", "TOTAL", "METER", "INTERFACE", "NEXT HOP", "COST", "SITE", "MARK", "SHARES", "CONNECTIONS", "SNAT", "AFFECTS", "EVIDENCE"}

func linkRow(l api.Link, o getOptions) []string {
	loaded := ""
	if l.Row.Load() != "" {
		loaded = age(l.Row.LoadSince, o.now)
	}
	why := evidence(l.Row)
	if l.Interface != nil && !l.Interface.Up {
		why += before("; ", l.Interface.Why)
	}
	if l.Meter != nil && l.Meter.Error != "" {
		why += before("; ", "meter: "+l.Meter.Error)
	}
	row := []string{l.Name, stateOf(l.Row), age(l.Row.Since, o.now), loaded,
		direction(l, l.Load.In), direction(l, l.Load.Out), direction(l, l.Load.Total),
		meterOf(l), interfaceOf(l), nextHopOf(l), strconv.Itoa(l.Cost), l.Site}
	return append(append(row, linkBalanced(l.Outbound)...), affects(l.Affects), why)
}

// direction is what flows in one direction: "812Mbps", and with a maxBandwidth
// "812Mbps, 81% of 1Gbps (busy 70%, free 60%)". What is not known is "?".
func direction(l api.Link, d *api.Direction) string {
	switch {
	case d == nil && l.Meter == nil:
		return ""
	case d == nil:
		return "?"
	case d.MaxBandwidth == nil:
		return rate(d.Rate)
	}
	share := "?"
	if d.Share != nil {
		share = fmt.Sprintf("%.0f%%", *d.Share)
	}
	of := func(bits *float64) string { return fmt.Sprintf("%.0f%%", 100**bits / *d.MaxBandwidth) }
	return fmt.Sprintf("%s, %s of %s (busy %s, free %s)", rate(d.Rate), share, rate(d.MaxBandwidth), of(d.BusyAbove), of(d.FreeBelow))
}

// rate is bits a second in three digits; "?" is not known.
func rate(bits *float64) string {
	if bits == nil {
		return "?"
	}
	n, unit := *bits, 0
	units := []string{"bps", "kbps", "Mbps", "Gbps", "Tbps"}
	for ; math.Abs(n) >= 999.5 && unit < len(units)-1; unit++ {
		n /= 1000
	}
	if unit == 0 {
		n = math.Round(n)
	}
	return strconv.FormatFloat(n, 'g', 3, 64) + units[unit]
}

func meterOf(l api.Link) string {
	if l.Meter == nil {
		return ""
	}
	return fmt.Sprintf("%s, %s", l.Meter.From, l.Meter.Window)
}

func interfaceOf(l api.Link) string {
	switch {
	case l.Interface == nil:
		return ""
	case l.Interface.Up:
		return l.Interface.Name
	}
	return l.Interface.Name + " down"
}

func nextHopOf(l api.Link) string {
	switch {
	case !l.NextHop.IsValid():
		return ""
	case l.Lost:
		return l.NextHop.String() + " (lost)"
	case l.Learnt:
		return l.NextHop.String() + " (learnt)"
	}
	return l.NextHop.String()
}

// affects names whom a link affects, as far as a cell has room.
func affects(a api.Affected) string {
	var parts []string
	for _, list := range [][]string{a.VirtualServers, a.Pools, a.Names, a.LinkGroups} {
		if len(list) > 0 {
			parts = append(parts, first(list))
		}
	}
	return cmp.Or(strings.Join(parts, "; "), "nobody")
}

// first is the first of a list, and how many more there are.
func first(list []string) string {
	switch len(list) {
	case 0:
		return ""
	case 1:
		return list[0]
	}
	return fmt.Sprintf("%s +%d", list[0], len(list)-1)
}
