package l4

import (
	"strings"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// shapes are the sets and maps that rules look into, without those that packets
// write (persistence) and what policies bring. A name ends in 4 or 6 where there
// is one of each family; there Addr stands for its addresses.
//
// What is keyed by a virtual server has its mark, what is keyed by a target or a
// farm the number as it stands in the packet's priority.
func shapes() map[string]kernel.Set {
	const addr = kernel.TypeAddr4
	one := []kernel.Type{kernel.TypeNumber}
	two := []kernel.Type{kernel.TypeNumber, kernel.TypeNumber}
	socket := []kernel.Type{addr, kernel.TypePort}
	list := []kernel.Set{
		{Name: "exact*", Key: []kernel.Type{addr, kernel.TypeProto, kernel.TypePort}, Data: one},
		{Name: "nets*", Key: []kernel.Type{addr}, Data: one, Interval: true},
		{Name: "ports", Key: []kernel.Type{kernel.TypeNumber, kernel.TypeProto, kernel.TypePort}, Data: one, Interval: true},
		{Name: "protos", Key: []kernel.Type{kernel.TypeNumber, kernel.TypeProto}, Data: one},

		{Name: slotsSet, Key: two, Data: one}, {Name: turnedSet, Key: two, Data: one}, {Name: "forced", Key: two, Data: one},
		{Name: copySlots, Key: two, Data: one}, {Name: "holds", Key: two}, {Name: "copy_to*", Key: one, Data: []kernel.Type{addr}},
		{Name: "alive", Key: two}, {Name: "loose", Key: two}, {Name: "avail", Key: two},
		{Name: ServedSet, Key: one, Data: one, Counted: true},
		{Name: "server*", Key: one, Data: socket, Counted: true}, {Name: "host*", Key: one, Data: []kernel.Type{addr}, Counted: true}, {Name: "next*", Key: one, Data: one},

		{Name: "dead*", Key: []kernel.Type{kernel.TypeNumber, addr, kernel.TypePort}},
		{Name: "dead_host*", Key: []kernel.Type{kernel.TypeNumber, addr}},
		{Name: "snat*", Key: socket, Data: one}, {Name: "snat_host*", Key: []kernel.Type{addr}, Data: one},
		{Name: "pools*", Key: two, Data: []kernel.Type{addr, addr, kernel.TypePort, kernel.TypePort}, Counted: true},
		{Name: "masquerade*", Key: socket}, {Name: "masquerade_host*", Key: []kernel.Type{addr}},
		{Name: "same", Key: []kernel.Type{kernel.TypeName, kernel.TypeName}}, {Name: "near*", Key: []kernel.Type{addr}, Interval: true},
	}
	for _, name := range []string{"any", "parent", "target", "policy", "limits", "tos", "helper", "farm", "keep", "mode", "force", "home", "head"} {
		list = append(list, kernel.Set{Name: name, Key: one, Data: one})
	}
	for _, name := range []string{"vs_shut", "vs_full", "vs_fast", "vs_total", "vs_in", "vs_out", "empty", "srv_fast", "forcible", "lives"} {
		list = append(list, kernel.Set{Name: name, Key: one})
	}
	for _, name := range []string{"limited", "dropped", "shed", "waiting", "none", "full", "copy_hits", "copy_waiting", "copy_none", "copy_given"} {
		list = append(list, kernel.Set{Name: name, Key: one, Counted: true})
	}
	for _, name := range []string{"resets", "octets_in", "octets_out"} {
		list = append(list, kernel.Set{Name: name + "*", Key: socket, Counted: true}, kernel.Set{Name: name + "_host*", Key: []kernel.Type{addr}, Counted: true})
	}
	for _, name := range []string{"rate_total", "rate_in", "rate_out"} {
		list = append(list, kernel.Set{Name: name + "*", Key: socket}, kernel.Set{Name: name + "_host*", Key: []kernel.Type{addr}})
	}
	out := make(map[string]kernel.Set, 2*len(list))
	for _, s := range list {
		name, twice := strings.CutSuffix(s.Name, "*")
		if !twice {
			out[name] = s
			continue
		}
		for _, f := range traffic.Families() {
			one := s
			one.Name, one.Key, one.Data = name+f.Digit, ofFamily(s.Key, f), ofFamily(s.Data, f)
			out[one.Name] = one
		}
	}
	return out
}

func ofFamily(list []kernel.Type, f traffic.Family) []kernel.Type {
	var out []kernel.Type
	for _, t := range list {
		if t == kernel.TypeAddr4 {
			t = f.Addr
		}
		out = append(out, t)
	}
	return out
}
