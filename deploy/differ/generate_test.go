package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsserver"
)

func files(w *world) map[string]string {
	all := map[string]string{}
	for _, z := range w.zones {
		all[z.apex.String()] = z.file(byName, 0)
	}
	return all
}

// The seed is all that a run depends on, or a difference could not be found
// again.
func TestSameSeedSameRun(t *testing.T) {
	one, two, other := generate(7), generate(7), generate(8)
	a, b, c := files(one), files(two), files(other)
	for apex, text := range a {
		if text != b[apex] {
			t.Errorf("zone %s differs between two runs of one seed", apex)
		}
	}
	if a["r1.test."] == c["r1.test."] {
		t.Error("two seeds made the same zone")
	}
	x, y := newAsker(one), newAsker(two)
	kinds := map[string]bool{}
	for range 5000 {
		q, again := x.query(), y.query()
		if string(q.message(1)) != string(again.message(1)) || q.tcp != again.tcp {
			t.Fatalf("query %d differs: %s and %s", q.number, q, again)
		}
		kinds[kindOf(q)] = true
	}
	for _, kind := range []string{"plain", "edns", "do", "tcp", "opcode", "class", "any", "meta", "option", "version"} {
		if !kinds[kind] {
			t.Errorf("no query of 5000 is of the kind %s", kind)
		}
	}
}

func kindOf(q *query) string {
	switch {
	case q.opcode != 0:
		return "opcode"
	case q.class != classIN:
		return "class"
	case q.rtype == typeANY:
		return "any"
	case isMeta(q.rtype):
		return "meta"
	case q.tcp:
		return "tcp"
	case q.edns == nil:
		return "plain"
	case q.edns.version != 0:
		return "version"
	case q.edns.option != 0:
		return "option"
	case q.edns.do:
		return "do"
	}
	return "edns"
}

// Every zone of every seed loads: one that does not would be answered SERVFAIL
// and compared with nothing. And what the program writes is what it means: the
// text, read by another reader, gives the same octets.
func TestZonesLoad(t *testing.T) {
	for seed := range uint64(6) {
		w := generate(seed)
		dir := t.TempDir()
		for _, z := range w.zones {
			text := z.file(byName, 0)
			if err := os.WriteFile(filepath.Join(dir, "zone"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			src := config.Source{FS: os.DirFS(dir), Dir: "."}
			zone, errs := dnsserver.ParseZone(src, &config.Zone{Name: z.apex.lower().String(), File: "zone"})
			if zone == nil {
				t.Errorf("seed %d, zone %s: %s", seed, z.apex, errs.Render())
				continue
			}
			if zone.Records() != len(z.records) {
				t.Errorf("seed %d, zone %s: %d records read, %d written", seed, z.apex, zone.Records(), len(z.records))
			}
			readBack(t, z, text)
		}
	}
}

func readBack(t *testing.T, z *zone, text string) {
	t.Helper()
	lines := dns.NewZoneParser(strings.NewReader(text), "", "")
	buf := make([]byte, 70_000)
	for i := range z.records {
		rr, ok := lines.Next()
		if !ok {
			t.Fatalf("zone %s: %d records of %d: %v", z.apex, i, len(z.records), lines.Err())
		}
		n, err := dns.PackRR(rr, buf, 0, nil, false)
		if err != nil {
			t.Fatalf("zone %s: %s: %v", z.apex, rr, err)
		}
		got, _, err := unpackRecord(buf[:n], 0)
		// That reader cuts thousandths of a second off LOC; dnsserver tests those.
		if want := z.records[i].canonical(); err != nil || got != want && got.rtype != typeLOC {
			t.Errorf("zone %s: %q was written, %q read (%v)", z.apex, want, got, err)
		}
	}
}

// The worlds have what the comparison is for.
func TestWorldsHaveEverything(t *testing.T) {
	w := generate(3)
	traits := trait(0)
	types := map[uint16]bool{}
	cuts, stars, starred, empty := 0, 0, 0, 0
	for _, z := range w.zones {
		traits |= z.traits
		empty += len(w.empty[z])
		for _, r := range z.records {
			types[r.rtype] = true
			if r.rtype == typeNS && r.owner != z.apex {
				cuts++
			}
			if r.owner.first() == "*" {
				stars++
				if r.rtype == typeCNAME {
					starred++
				}
			}
		}
	}
	if all := hasDNAME | hasLoop | hasHuge | hasOdd | isRoot; traits != all {
		t.Errorf("traits %b, want %b", traits, all)
	}
	for _, rtype := range slices.Concat(dataTypes, []uint16{typeCNAME, typeDNAME, typeDS, typeNS, typeSOA}) {
		if !types[rtype] {
			t.Errorf("no %s in the world", typeName(rtype))
		}
	}
	if cuts < 20 || stars < 20 || starred < 5 || empty < 50 {
		t.Errorf("%d delegations, %d wildcard records of which %d aliases, %d empty non-terminals: too few", cuts, stars, starred, empty)
	}
}

// Root zone: in one seed of three, and never in the others.
func TestRootZone(t *testing.T) {
	for seed := range uint64(4) {
		if got := generate(seed).byAt[root] != nil; got != (seed%3 == 0) {
			t.Errorf("seed %d: root zone %v", seed, got)
		}
	}
}

func TestFileWithoutAType(t *testing.T) {
	w := generate(1)
	z := w.byAt[parseName("corp.example.")]
	if with, without := z.file(byName, 0), z.file(byName, typeDS); !strings.Contains(with, " DS ") || strings.Contains(without, " DS ") {
		t.Error("DS is not left out")
	}
	if text := z.file(gdnsdNames, 0); !strings.Contains(text, " IN TYPE65 \\# ") || strings.Contains(text, " HTTPS ") {
		t.Error("gdnsd is given types by name that it does not know")
	}
}
