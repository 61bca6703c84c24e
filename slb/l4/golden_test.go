package l4

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
)

var update = flag.Bool("update", false, "write what is told to Linux into testdata")

// rich is a configuration that has everything once.
func rich(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("testdata/rich.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What Linux is told, in the words of nft.
func TestGolden(t *testing.T) {
	for name, text := range map[string]string{"simple": strings.Replace(simple, "- name: web\n", "- name: web\n    slots: 16\n", 1), "rich": rich(t), "direct": direct("routed", "slots: 16", "\n  - {name: any, address: 203.0.113.11, serve: {type: ip, farm: web}}")} {
		b := newBalancer(t, text)
		if name == "rich" {
			b.SetAddress("names", "a.example.org:53", addr("10.1.0.7"), addr("fd01::7"))
			b.SetDead("web", b.byFarm["web"].ids()[:1])
			b.SetShut("names", true)
		}
		got := b.Wishes(b.facts).Text()
		file := "testdata/" + name + ".txt"
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
			t.Errorf("%s differs from %s; run go test ./slb/l4 -run Golden -update and read what changed\n%s", name, file, difference(string(want), got))
		}
	}
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

// Explain knows what chains and sets are for; numbers lead back to names.
func TestNames(t *testing.T) {
	b := newBalancer(t, rich(t))
	n := b.Names(nil)
	for at, want := range map[string]flow.Role{
		"which": {Kind: flow.VirtualServer}, "policy_office": {Kind: flow.Policy, Name: "office"}, "keep_pairs": {Kind: flow.Persistence, Name: "pairs"},
		"turn_web": {Kind: RoleFarm, Name: "web"}, "give": {Kind: RoleServer}, "nothing": {},
	} {
		if got := n.Chain(Table, at); got != want {
			t.Errorf("chain %s: %+v, want %+v", at, got, want)
		}
	}
	if got := n.Set(Table, "stick4_keep"); got != (flow.Role{Kind: flow.Persistence, Name: "keep"}) {
		t.Errorf("%+v", got)
	}
	if got := n.Chain("other", "which"); got != (flow.Role{}) || n.Source("in0", true) != addr("fd01::fe") || n.Source("out0", false) != addr("203.0.113.2") {
		t.Errorf("%+v", got)
	}
	id := b.IDOf("web", "two")
	if farm, name := b.ServerOf(id); farm != "web" || name != "two" || id == 0 {
		t.Errorf("server %d is %s/%s", id, farm, name)
	}
	if farm, name := b.ServerOf(9999); farm != "" || name != "" || b.FarmOf(b.num.Farms["spare"]) != "spare" || b.FarmOf(b.byFarm["spare"].key) != "spare" {
		t.Error("numbers and names")
	}
	if b.VirtualServerOf(b.MarkOf("range")|kernel.OthersMask) != "range" || b.MarkOf("off") != 0 {
		t.Error("marks and names")
	}
	counted := map[string]bool{}
	for _, h := range b.Hits() {
		counted[h.Kind+" "+h.Name+" "+h.What] = true
		if h.From.Set == "" && h.From.Counter == "" {
			t.Errorf("%+v is counted nowhere", h)
		}
	}
	for _, want := range []string{"virtualServer web taken", "virtualServer web limited", "rule office/1 taken", "persistence pairs taken", "serverFarm web busy", "realServer web/one taken", "realServer web/one full"} {
		if !counted[want] {
			t.Errorf("%s is not counted", want)
		}
	}
}
