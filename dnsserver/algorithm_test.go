package dnsserver

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/portolan-lb/portolan/config"
)

// Every algorithm that a configuration may name is one that pools can make.
func TestAlgorithmsAreThoseOfConfig(t *testing.T) {
	src := config.Source{FS: fstest.MapFS{}, Dir: ".", Name: "p.yaml"}
	_, errs := config.LoadBytes([]byte("version: 1\npools:\n  - {name: p, preferred: no-such, members: [{address: 192.0.2.1}]}\n"), src)
	if len(errs) != 1 {
		t.Fatal(errs)
	}
	_, list, ok := strings.Cut(errs[0].Text, "is not one of: ")
	words := strings.Split(list, ", ")
	if !ok || len(words) < 5 {
		t.Fatalf("no list of algorithms in %q", errs[0].Text)
	}
	c := &poolCompiler{pools: &pools{}}
	for _, word := range words {
		if c.algorithm(config.Slot{Algorithm: word}) == nil {
			t.Errorf("config knows the algorithm %q, pools cannot make it", word)
		}
	}
}
