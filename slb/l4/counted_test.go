package l4

import (
	"testing"

	"github.com/portolan-lb/portolan/traffic"
)

// Whatever is listed as counted can be read: the kernel has a set only where a
// rule looks at it (FAQ 1.1.2).
func TestHits_Exist(t *testing.T) {
	for text, limited := range map[string]bool{
		"virtualServers: [{name: v, address: 203.0.113.1, port: 80, serve: {farm: f}}]\nserverFarms: [{name: f, servers: [10.0.0.1]}]\n":                               false,
		"virtualServers: [{name: v, address: 203.0.113.1, port: 80, serve: {farm: f, maxConnections: 5}}]\nserverFarms: [{name: f, servers: [10.0.0.1]}]\n":            true,
		"virtualServers: [{name: v, address: 203.0.113.1, port: 80, serve: {}}]\n":                                                                                     false,
		"virtualServers: [{name: v, address: 203.0.113.1, port: 80, serve: {farm: f}}]\nserverFarms: [{name: f, servers: [{address: 10.0.0.1, newConnections: 3}]}]\n": false,
	} {
		p := compile(t, "version: 1\n"+text, nil)
		there := map[string]bool{}
		for _, s := range p.Wishes(usual()).Tables[0].Sets {
			there[s.Name] = true
		}
		found := false
		for _, h := range p.Hits() {
			for _, at := range p.Places(h.From.Set) {
				if at.Set != "" && !there[at.Set] {
					t.Errorf("%s/%s %s is in set %s, which is not there\n%s", h.Kind, h.Name, h.What, at.Set, text)
				}
			}
			if h.From.Counter == "" && len(p.Places(h.From.Set)) == 0 {
				t.Errorf("%s/%s %s is in set %s, which is not there\n%s", h.Kind, h.Name, h.What, h.From.Set, text)
			}
			found = found || h.What == traffic.Limited
		}
		if found != limited {
			t.Errorf("limited is listed: %v, want %v\n%s", found, limited, text)
		}
	}
}
