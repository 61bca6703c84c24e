package dnsserver

import (
	"slices"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// A virtual server behind a link needs the link, and the interface of the link
// where it has one here: a line whose cable is pulled takes its servers out
// before the first of its probes has failed.
func TestNeedsOf(t *testing.T) {
	v := &config.VirtualServer{Name: "web", Link: "telecom", Site: "east"}
	for name, c := range map[string]struct {
		link *config.Link
		want []status.ID
	}{
		"an interface": {&config.Link{Name: "telecom", Interface: "eth1"}, []status.ID{"virtualServer/web", "link/telecom", "interface/eth1", "site/east"}},
		"none":         {&config.Link{Name: "telecom"}, []status.ID{"virtualServer/web", "link/telecom", "site/east"}},
	} {
		if got := needsOf(v, c.link); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
