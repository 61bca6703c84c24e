package traffic

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/topology"
)

func address(s string) netip.Addr { return netip.MustParseAddr(s) }

const places = `
version: 1
isps: [{name: campus, prefixes: [192.0.2.0/24, "2001:db8:7::/48"]}]
virtualServers: [{name: v, address: 198.51.100.9, port: 80, serve: {farm: f}}]
serverFarms: [{name: f, servers: [{name: s, address: 10.0.0.7}]}]
slb: {classes: [{name: isp, isps: [campus]}]}
`

// The lists of ISPs, autonomous systems and countries are about the far end:
// the destination of what leaves by a link, the client of a virtual server. What
// asks for requests of HTTP matches no connection (1.1.10), nor does a class
// that is not there.
func TestClass_Far(t *testing.T) {
	model, errs := config.LoadBytes([]byte(places), config.Source{})
	if errs.Failed() {
		t.Fatal(errs)
	}
	table, errs := topology.Compile(model, config.Source{})
	if errs.Failed() {
		t.Fatal(errs)
	}
	classes := []*config.Class{
		{Name: "isp", ISPs: []string{"campus"}},
		{Name: "office", Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/25")}},
		{Name: "to", Destinations: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/25")}},
		{Name: "http", HTTP: &config.HTTPMatch{Methods: []string{"GET"}}},
		{Name: "either", Match: config.MatchAny, HTTP: &config.HTTPMatch{}, Classes: []string{"office", "missing"}},
		{Name: "both", ISPs: []string{"campus"}, HTTP: &config.HTTPMatch{}},
	}
	for _, c := range []struct {
		far      End
		from, to string
		want     string
	}{
		{Source, "192.0.2.1", "203.0.113.9", "isp office either"},
		{Source, "192.0.2.200", "203.0.113.9", "isp"},
		{Source, "203.0.113.9", "192.0.2.1", "to"},
		{Source, "2001:db8:7::1", "2001:db8:1::1", "isp"},
		{Destination, "192.0.2.1", "203.0.113.9", "office either"},
		{Destination, "203.0.113.9", "192.0.2.1", "isp to"},
		{Destination, "2001:db8:1::1", "2001:db8:7::1", "isp"},
	} {
		m := Matcher{Builder: NewBuilder("t", NewFixed()), Classes: map[string]*config.Class{}, Topology: table, Far: c.far}
		for _, k := range classes {
			m.Classes[k.Name] = k
		}
		m.Base("in", kernel.Hook{Type: "filter", Point: "prerouting"}, func() (rules []kernel.Rule) {
			for _, k := range classes {
				to := m.Chain("is_"+k.Name, func() []kernel.Rule { return []kernel.Rule{Rule("", m.Count(k.Name))} })
				rules = append(rules, m.JumpWhen(func(f Family) Condition { return m.Class(k, f) }, "match_"+k.Name, "", to)...)
			}
			return rules
		})
		table, _ := m.Done()
		trace, err := kernel.NewWorld(&kernel.Wishes{Tables: []kernel.Table{table}}).Walk("prerouting",
			kernel.Packet{Source: address(c.from), Dest: address(c.to), Protocol: 6, SourcePort: 1, DestPort: 80})
		if err != nil {
			t.Fatal(err)
		}
		n, got := counted(trace), []string{}
		for _, k := range classes {
			if n[k.Name] > 0 {
				got = append(got, k.Name)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("far end %d, %s to %s: %v, want %s", c.far, c.from, c.to, got, c.want)
		}
	}
}
