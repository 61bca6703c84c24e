package outbound

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
)

var update = flag.Bool("update", false, "write what is told to Linux into testdata")

// sample gives a gateway of a file in testdata.
func sample(t *testing.T, name string) *gateway {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, string(text))
	g.facts.Interfaces = append(g.facts.Interfaces, nic("lan1", "192.168.9.1/24"))
	g.facts.Neighbours = []Neighbour{{"eth3", addr("192.0.2.1"), [6]byte{2, 0, 0, 0, 0, 1}}, {"eth3", addr("192.0.2.9"), [6]byte{2, 0, 0, 0, 0, 9}}}
	return g.restate()
}

// What Linux is told, in the words of nft and ip.
func TestGolden(t *testing.T) {
	for _, name := range []string{"simple", "rich"} {
		g := sample(t, name)
		w := g.Wishes(g.facts)
		got := textOfWishes(w)
		file := filepath.Join("testdata", name+".txt")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs from %s; run go test ./outbound -run Golden -update and read what changed\n%s", name, file, difference(string(want), got))
		}
	}
}

// textOfWishes leaves out what ticks write into slots: 256 lines a group.
func textOfWishes(w *kernel.Wishes) string {
	slots := regexp.MustCompile(`(?m)^\t\t\t0x[0-9a-f]+ : 0x[0-9a-f]+,\n(\t\t\t0x[0-9a-f]+ : 0x[0-9a-f]+,\n){254,}`)
	return slots.ReplaceAllString(w.Text(), "\t\t\t# 256 slots\n")
}

func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return "- " + a[i] + "\n+ " + b[i]
		}
	}
	return "one is longer"
}

// Explain knows what each chain of a way is for, and sees what was sent.
func TestNames(t *testing.T) {
	g := sample(t, "rich")
	n := g.Names()
	for at, want := range map[string]flow.Role{
		"new": {Kind: flow.VirtualServer}, "server_web": {Kind: flow.VirtualServer, Name: "web"}, "policy_office": {Kind: flow.Policy, Name: "office"},
		"group_internet": {Kind: flow.LinkGroup, Name: "internet"}, "entry4_calls_plain": {Kind: flow.Persistence, Name: "plain"},
		"link_4": {Kind: flow.Link, Name: "Köln"}, "place_telecom": {Kind: flow.Link, Name: "telecom"}, "nothing": {},
	} {
		if got := n.Chain(Table, at); got != want {
			t.Errorf("chain %s: %+v, want %+v", at, got, want)
		}
	}
	if got := n.Set(Table, "stick4_plain_calls"); got != (flow.Role{Kind: flow.Persistence, Name: "plain"}) {
		t.Errorf("%+v", got)
	}
	if got := n.Chain("other", "new"); got != (flow.Role{}) || n.Link(4) != "Köln" || n.Source("eth1", true) != addr("2001:db8:1::2") {
		t.Errorf("%+v %s %s", got, n.Link(4), n.Source("eth1", true))
	}
	q := flow.Question{From: netip.MustParseAddrPort("10.0.0.5:1000"), To: netip.MustParseAddrPort("8.8.8.8:25"), Protocol: 6, In: "lan0"}
	x, err := flow.Explain(g.world, q, nil, n)
	if err != nil {
		t.Fatal(err)
	}
	links := map[string]bool{}
	for _, w := range x.Ways {
		links[w.Link] = true
	}
	if len(links) != 3 || !links["telecom"] || links[""] {
		t.Errorf("ways %+v", x.Ways)
	}
}
