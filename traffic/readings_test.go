package traffic

import (
	"errors"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/kernel"
)

// fakeCounters are named counters, and elements by the name of their set.
type fakeCounters struct {
	named map[string]kernel.Counted
	sets  map[string][]kernel.Element
	err   error
}

func (f *fakeCounters) Counts(string) (map[string]kernel.Counted, error) { return f.named, f.err }

func (f *fakeCounters) Elements(_, set string) ([]kernel.Element, error) { return f.sets[set], f.err }

// What is counted is told as it is, and that it moved only if it was seen to: a
// counter that is found may be hours old (FAQ 1.1.2).
func TestReadings_1_1_2(t *testing.T) {
	named, element := Counted{Counter: "a"}, Counted{Set: "s", Key: "k"}
	from := &fakeCounters{named: map[string]kernel.Counted{}, sets: map[string][]kernel.Element{}}
	var hits []Hit
	var r Readings
	at := time.Unix(1000, 0)
	read := func() {
		t.Helper()
		at = at.Add(time.Second)
		hits = []Hit{{From: named}, {From: element}}
		if err := r.Read(from, "t", hits, at); err != nil {
			t.Fatal(err)
		}
	}
	put := func(n uint64) {
		from.named["a"] = kernel.Counted{Packets: n, Octets: 10 * n}
		from.sets["s"] = []kernel.Element{{Key: []byte("k"), Packets: n, Octets: 10 * n}, {Key: []byte("other"), Packets: 9}}
	}
	want := func(n uint64, last time.Time, grew uint64) {
		t.Helper()
		all := r.Grew()
		for _, h := range hits {
			if h.Connections != n || h.Octets != 10*n || h.Last != last || all[h.From] != grew {
				t.Errorf("%+v, grew by %d; want %d, %v, %d", h, all[h.From], n, last, grew)
			}
		}
	}
	read()
	want(0, time.Time{}, 0)
	put(7)
	read()
	want(7, time.Time{}, 0) // it has come, and may be old
	put(9)
	read()
	moved := at
	want(9, moved, 2)
	read()
	want(9, moved, 0)
	put(4) // it was made anew
	read()
	want(4, at, 4)
	put(5)
	read()
	put(7)
	read()
	moved = at
	want(7, moved, 3) // of both
	r.Forget(hits[:1])
	read()
	if !hits[1].Last.IsZero() || hits[0].Last != moved {
		t.Errorf("%+v", hits)
	}
	clear(from.named)
	clear(from.sets)
	read()
	want(0, time.Time{}, 0)
	put(3)
	read()
	want(3, time.Time{}, 0)
	from.err = errors.New("no")
	if err := r.Read(from, "t", hits, at); !errors.Is(err, from.err) {
		t.Error(err)
	}
}

// single can look up one element, and notes who asked for what.
type single struct {
	*fakeCounters
	asked, dumped map[string]int // by set
}

func (s single) Elements(table, set string) ([]kernel.Element, error) {
	s.dumped[set]++
	return s.fakeCounters.Elements(table, set)
}

func (s single) Element(_, set string, key []byte) (kernel.Element, bool, error) {
	s.asked[set]++
	for _, el := range s.sets[set] {
		if string(el.Key) == string(key) {
			return el, true, s.err
		}
	}
	return kernel.Element{}, false, s.err
}

// A few elements of a large set are looked up one by one, many are read with the set,
// and both tell the same.
func TestReadingsOneByOne(t *testing.T) {
	from := &fakeCounters{sets: map[string][]kernel.Element{}}
	var hits []Hit
	for set, n := range map[string]int{"few": 3, "many": fewElements + 1} {
		for i := range 1000 {
			key := string(rune('a' + i))
			from.sets[set] = append(from.sets[set], kernel.Element{Key: []byte(key), Packets: uint64(i + 1), Octets: uint64(60 * i)})
			if i < n {
				hits = append(hits, Hit{Name: key, From: Counted{Set: set, Key: key}})
			}
		}
		hits = append(hits, Hit{Name: "none", From: Counted{Set: set, Key: "none"}})
	}
	s := single{from, map[string]int{}, map[string]int{}}
	slow, fast := append([]Hit(nil), hits...), append([]Hit(nil), hits...)
	var a, b Readings
	if err := errors.Join(a.Read(from, "t", slow, time.Now()), b.Read(s, "t", fast, time.Now())); err != nil {
		t.Fatal(err)
	}
	for i := range slow {
		if slow[i] != fast[i] || slow[i].Name != "none" && slow[i].Connections == 0 {
			t.Errorf("%+v one by one, %+v with the set", fast[i], slow[i])
		}
	}
	if s.asked["few"] != 4 || s.dumped["few"] != 0 || s.asked["many"] != 0 || s.dumped["many"] != 1 {
		t.Errorf("asked %v, read %v", s.asked, s.dumped)
	}
	from.err = errors.New("no")
	if err := b.Read(s, "t", hits[:2], time.Now()); err == nil {
		t.Error("an error is not told")
	}
}
