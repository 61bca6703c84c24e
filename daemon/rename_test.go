package daemon

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/portolan-lb/portolan/config"
)

// A link that gets another name keeps its number, and with it its connections,
// as long as it is plugged in where it was; names that stay go before.
func TestRenamed(t *testing.T) {
	hop := netip.MustParseAddr("192.0.2.1")
	link := func(name, nic string, hop netip.Addr) *config.Link {
		return &config.Link{Name: name, Interface: nic, NextHop: hop}
	}
	before := &Built{Numbers: map[string]uint16{"a": 1, "b": 2, "c": 3}, Model: &config.Model{Links: []*config.Link{
		link("a", "eth1", hop), link("b", "eth2", hop), link("c", "eth3", netip.Addr{})}}}
	for name, c := range map[string]struct {
		now  []*config.Link
		want map[string]uint16
	}{
		"the same":             {before.Model.Links, map[string]uint16{"a": 1, "b": 2, "c": 3}},
		"another name":         {[]*config.Link{link("a", "eth1", hop), link("new", "eth2", hop), link("c", "eth3", netip.Addr{})}, map[string]uint16{"a": 1, "new": 2, "c": 3}},
		"another next hop":     {[]*config.Link{link("new", "eth2", hop.Next())}, map[string]uint16{"a": 1, "b": 2, "c": 3}},
		"names are exchanged":  {[]*config.Link{link("b", "eth1", hop), link("a", "eth2", hop)}, map[string]uint16{"a": 1, "b": 2, "c": 3}},
		"two where one was":    {[]*config.Link{link("x", "eth2", hop), link("y", "eth2", hop)}, map[string]uint16{"a": 1, "x": 2, "c": 3}},
		"a name with a number": {[]*config.Link{link("c", "eth2", hop)}, map[string]uint16{"a": 1, "b": 2, "c": 3}},
	} {
		if got := renamed(before, &config.Model{Links: c.now}); !maps.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := renamed(&Built{}, before.Model); len(got) != 0 {
		t.Errorf("from nothing: %v", got)
	}
}
