package outbound

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestNumber(t *testing.T) {
	carried := func(ids ...uint16) func(uint16) bool { return func(id uint16) bool { return slices.Contains(ids, id) } }
	for _, c := range []struct {
		name    string
		links   []string
		kept    map[string]uint16
		carried func(uint16) bool
		want    map[string]uint16
	}{
		{"in the order of the file", []string{"b", "a"}, nil, nil, map[string]uint16{"b": 1, "a": 2}},
		{"who has one keeps it", []string{"c", "a", "b"}, map[string]uint16{"a": 1, "b": 3}, nil, map[string]uint16{"a": 1, "b": 3, "c": 2}},
		{"one that is gone leaves its number", []string{"c"}, map[string]uint16{"a": 1}, nil, map[string]uint16{"c": 1}},
		{"not while connections have it", []string{"c"}, map[string]uint16{"a": 1}, carried(1), map[string]uint16{"a": 1, "c": 2}},
		{"nor when nobody knows whose it was", []string{"c"}, nil, carried(1, 2), map[string]uint16{"c": 3}},
		{"it comes back", []string{"c", "a"}, map[string]uint16{"a": 1, "c": 2}, nil, map[string]uint16{"a": 1, "c": 2}},
		{"what is kept may be broken", []string{"a", "b", "c"}, map[string]uint16{"a": 7, "b": 7, "c": 5000}, nil, map[string]uint16{"a": 7, "b": 1, "c": 2}},
	} {
		if got, err := Number(c.links, c.kept, c.carried); err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%s: %v %v, want %v", c.name, got, err, c.want)
		}
	}
	var many []string
	for i := range MaxLink + 1 {
		many = append(many, fmt.Sprint("link", i))
	}
	if _, err := Number(many, nil, nil); err == nil {
		t.Error("1024 links get numbers")
	}
	if got, err := Number(many[:MaxLink], nil, nil); err != nil || len(got) != MaxLink {
		t.Errorf("1023 links: %d, %v", len(got), err)
	}
}

// Whatever comes and goes, no two links have one number, nobody who stays gets
// another, and no new link gets one that connections have.
func TestNumber_Stable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}), rapid.ID[string])
		kept := map[string]uint16{}
		for range rapid.IntRange(1, 8).Draw(t, "reloads") {
			live := rapid.SliceOfDistinct(rapid.Uint16Range(1, 8), rapid.ID[uint16]).Draw(t, "live")
			busy := map[uint16]bool{}
			for _, id := range live {
				busy[id] = true
			}
			links := names.Draw(t, "links")
			next, err := Number(links, kept, func(id uint16) bool { return busy[id] })
			if err != nil {
				t.Fatal(err)
			}
			used := map[uint16]string{}
			for name, id := range next {
				if used[id] != "" {
					t.Fatalf("%s and %s have %d", name, used[id], id)
				}
				used[id] = name
			}
			for _, l := range links {
				switch before, was := kept[l]; {
				case next[l] == 0:
					t.Fatalf("%s has none", l)
				case was && next[l] != before:
					t.Fatalf("%s had %d and has %d", l, before, next[l])
				case !was && busy[next[l]]:
					t.Fatalf("%s gets %d, which connections have", l, next[l])
				}
			}
			kept = next
		}
	})
}
