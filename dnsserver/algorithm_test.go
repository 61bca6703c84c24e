package dnsserver

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/portolan-lb/portolan/config"
)

// Every algorithm that a configuration may name is one that pools can make, and
// so is every tie.
func TestAlgorithmsAreThoseOfConfig(t *testing.T) {
	c := &poolCompiler{pools: &pools{}}
	for _, word := range wordsOf(t, "no-such") {
		if c.algorithm(config.Slot{Algorithm: word}) == nil {
			t.Errorf("config knows the algorithm %q, pools cannot make it", word)
		}
	}
	for _, word := range wordsOf(t, "{algorithm: topology, tie: no-such}") {
		if c.tie(config.Slot{Algorithm: "topology", Tie: word}, true) == nil {
			t.Errorf("config knows the tie %q, pools cannot make it", word)
		}
	}
}

// wordsOf gives the words that config offers instead of one in a slot that it
// does not know.
func wordsOf(t *testing.T, slot string) []string {
	t.Helper()
	src := config.Source{FS: fstest.MapFS{}, Dir: ".", Name: "p.yaml"}
	_, errs := config.LoadBytes([]byte("version: 1\npools:\n  - {name: p, preferred: "+slot+", members: [{address: 192.0.2.1}]}\n"), src)
	for _, e := range errs {
		if _, list, ok := strings.Cut(e.Text, "is not one of: "); ok {
			return strings.Split(list, ", ")
		}
	}
	t.Fatalf("no list of words in %v", errs)
	return nil
}
