package traffic

import (
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
)

func number(n uint32, to kernel.Step) kernel.Element {
	return kernel.Element{Key: kernel.Number(n), Verdict: to}
}

// Elements that are the same are shared by one table after the other, whatever
// their order (T60); others are not, and what no table has any more is forgotten.
func TestFixed(t *testing.T) {
	fixed := NewFixed()
	made := func(f *Fixed, list ...kernel.Element) *kernel.Elements {
		b := NewBuilder("t", f)
		b.Fix(kernel.Set{Name: "s", Key: []kernel.Type{kernel.TypeNumber}, Verdicts: true}, list)
		table, _ := b.Done()
		return table.Sets[0].Elements
	}
	one, two := number(1, kernel.Goto{Chain: "a"}), number(2, kernel.Jump{Chain: "b"})
	first := made(fixed, one, two)
	if made(fixed, two, one) != first {
		t.Error("the same elements are not shared")
	}
	limited := func(over uint32, perSecond uint64) kernel.Element {
		return kernel.Element{Key: kernel.Number(3), Over: over, Rate: &kernel.Rate{PerSecond: perSecond}}
	}
	bounds := made(fixed, limited(5, 100))
	if made(fixed, limited(5, 100)) != bounds {
		t.Error("the same limits are not shared")
	}
	if made(fixed, limited(6, 100)) == bounds || made(fixed, limited(6, 100)) == made(fixed, limited(6, 200)) {
		t.Error("elements with other limits are taken for the same")
	}
	first = made(fixed, one, two)
	other := fixed.Clone()
	if made(other, one, number(2, kernel.Jump{Chain: "c"})) == first {
		t.Error("elements with another verdict are taken for the same")
	}
	if made(fixed, one, two) != first {
		t.Error("a clone changed what it was made of")
	}
	if chains, ok := fixed.Leads("s"); !ok || strings.Join(chains, " ") != "a b" {
		t.Errorf("leads to %v", chains)
	}
	NewBuilder("t", fixed).Done()
	if _, ok := fixed.Leads("s"); ok {
		t.Error("elements of a set that is gone are kept")
	}
	if made(fixed, one, two) == first {
		t.Error("elements of a set that was gone come back")
	}
}

// The kernel bounds how many chains a packet is in at once; jumps, gotos and
// verdicts of maps count alike.
func TestDepth(t *testing.T) {
	b := NewBuilder("t", NewFixed())
	leaf := func() []kernel.Rule { return nil }
	b.Base("in", kernel.Hook{}, func() []kernel.Rule {
		set := b.Fix(kernel.Set{Name: "fixed", Verdicts: true}, []kernel.Element{number(1, kernel.Goto{Chain: b.Chain("deep", func() []kernel.Rule {
			return []kernel.Rule{Rule("", kernel.Jump{Chain: b.Chain("deeper", leaf)})}
		})})})
		return []kernel.Rule{Rule("", kernel.Choose{Key: kernel.Mark, Map: set}), Rule("", kernel.Choose{Key: kernel.Mark, Map: "ticked"})}
	})
	table, _ := b.Done()
	for ticked, want := range map[int]int{0: 3, 2: 3, 4: 5} {
		if got := b.fixed.Depth(table, ticked); got != want {
			t.Errorf("%d below a map that a tick writes: depth %d, want %d", ticked, got, want)
		}
	}
}

// A chain is written once, comes before those it leads to, and is for what the
// chain around it is for.
func TestChain(t *testing.T) {
	b := NewBuilder("t", NewFixed())
	leaf := func() string { return b.Chain("leaf", func() []kernel.Rule { return nil }) }
	b.ChainFor(flow.Policy, "office", "policy", func() []kernel.Rule { return []kernel.Rule{Rule("", kernel.Jump{Chain: leaf()})} })
	b.Base("in", kernel.Hook{Point: "prerouting"}, func() []kernel.Rule { return []kernel.Rule{Rule("", kernel.Jump{Chain: leaf()})} })
	b.SetFor(flow.Persistence, "keep", kernel.Set{Name: "leaf"})
	b.Count("z")
	b.Count("a")
	b.Count("z")
	table, roles := b.Done()
	var names []string
	for _, c := range table.Chains {
		names = append(names, c.Name)
	}
	if got := strings.Join(names, " "); got != "policy leaf in" || table.Chains[2].Hook.Point != "prerouting" {
		t.Errorf("chains %s", got)
	}
	if roles.Chain("leaf") != (flow.Role{Kind: flow.Policy, Name: "office"}) || roles.Chain("in") != (flow.Role{}) || roles.Set("leaf").Name != "keep" {
		t.Errorf("roles %v", roles)
	}
	if strings.Join(table.Counters, " ") != "a z" {
		t.Errorf("counters %v", table.Counters)
	}
}

// What nftables takes as a comment is bounded in bytes, and cut between letters.
func TestRule(t *testing.T) {
	if got := Rule(strings.Repeat("ö", 61)).Tell; got != strings.Repeat("ö", 60) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

// SIP is spoken over both protocols, and Linux has a helper object for each.
func TestAssist(t *testing.T) {
	b := NewBuilder("t", NewFixed())
	for range 2 {
		for _, h := range []config.Helper{config.HelperFTP, config.HelperTFTP, config.HelperSIP} {
			protocols, _ := HelperProtocols(h)
			for _, p := range protocols {
				b.Assist(h, p)
			}
		}
	}
	var names []string
	table, _ := b.Done()
	for _, h := range table.Helpers {
		names = append(names, h.Name)
	}
	if got := strings.Join(names, " "); got != "ftp tftp sip sip_tcp" {
		t.Errorf("helpers %s", got)
	}
}
