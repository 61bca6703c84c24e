package outbound

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

// The gateway is compiled from what config accepts, and says what is wrong else.
func TestNewGroup(t *testing.T) {
	g := &config.LinkGroup{Name: "g", Algorithm: config.LinkRoundRobin, Members: []*config.LinkMember{{Link: "a", Weight: 1}, {Link: "b", Weight: 1}}}
	links := []*config.Link{{Name: "a"}, {Name: "b"}}
	for _, tt := range []struct {
		numbers map[string]uint16
		links   []*config.Link
		want    string
	}{
		{map[string]uint16{"a": 1, "b": 1023}, links, ""},
		{map[string]uint16{"a": 1}, links, `link group g: link "b" has no number of 1 to 1023`},
		{map[string]uint16{"a": 1, "b": 1024}, links, `link group g: link "b" has no number of 1 to 1023`},
		{map[string]uint16{"a": 1, "b": 1}, links, `link group g: link "b" is in it twice, or its number 1 is another's`},
		{map[string]uint16{"a": 1, "b": 2}, links[:1], `link group g: no link "b"`},
	} {
		_, err := newGroup(g, tt.links, func(l string) uint16 { return tt.numbers[l] })
		if got := fmt.Sprint(err); got != tt.want && !(err == nil && tt.want == "") {
			t.Errorf("%v: %v, want %s", tt.numbers, err, tt.want)
		}
	}
}

// All that a link group says comes to its slots.
func TestSpec(t *testing.T) {
	c := &config.LinkGroup{Name: "g", Algorithm: config.LinkMaxBandwidth, Direction: "out", Debit: 5e6, Min: 2, Max: 3,
		Spill: []config.Spill{config.SpillDown, config.SpillFull}, BusyProtection: true, Activate: config.Activate{Lower: 40, Upper: 70},
		SlowOnline: config.SlowOnline{Standby: config.Duration(time.Second), Ramp: config.Duration(time.Minute)},
		Members:    []*config.LinkMember{{Link: "b", Weight: 3, Priority: 7, MaxConnections: 11}, {Link: "a"}}}
	links := []*config.Link{{Name: "a"}, {Name: "b", Interface: "eth1", MaxConnections: 99, RateLimit: config.Bandwidths{Total: 3e6, In: 1e6, Out: 2e6}}}
	got, err := Spec(c, links, func(link string) uint16 { return uint16(link[0]) })
	if err != nil {
		t.Fatal(err)
	}
	want := slots.Spec{Name: "g", Row: "linkGroup/g", Words: slots.Words{Members: "links", Group: "group"}, Algorithm: slots.MaxBandwidth,
		Direction: busy.Out, Debit: 5e6, Size: 256, Min: 2, Max: 3, Spill: pick.SpillDown | pick.SpillFull, BusyProtection: true,
		Activate: slots.Activation{Lower: 40, Upper: 70}, Slow: pick.SlowOnline{Standby: time.Second, Ramp: time.Minute},
		Members: []slots.Member{
			{Name: "b", ID: 'b', Weight: 3, Priority: 7, Row: "link/b", Needs: []status.ID{"link/b", "linkGroup/g/b", "interface/eth1"},
				MaxConnections: 11, MaxEverywhere: 99, RateLimit: [busy.Directions]float64{3e6, 1e6, 2e6}},
			{Name: "a", ID: 'a', Row: "link/a", Needs: []status.ID{"link/a", "linkGroup/g/a"}},
		}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v,\nwant %+v", got, want)
	}
}

// Every algorithm of a link group is one of slots, with the same traits.
func TestAlgorithmsAreKnown(t *testing.T) {
	for _, c := range []config.LinkAlgorithm{config.LinkRoundRobin, config.LinkRandom, config.LinkLeastConnections, config.LinkWeightedLeastConnections,
		config.LinkSourceHash, config.LinkDestinationHash, config.LinkSourceDestinationHash, config.LinkSourcePortHash, config.LinkBandwidth, config.LinkMaxBandwidth} {
		if a := slots.Algorithm(c); !a.Known() || a.Hashes() != c.Hashes() || a.Counts() != c.Counts() || a.Weighs() != c.Weighs() {
			t.Errorf("%s: known %v, hashes %v, counts %v, weighs %v", a, a.Known(), a.Hashes(), a.Counts(), a.Weighs())
		}
	}
}

// 1.2.16: the sets of a group say whom proximity may take: b is nearest, but of
// lower priority.
func TestNearestOfThePriority_1_2_16(t *testing.T) {
	c := &config.LinkGroup{Name: "g", Algorithm: config.LinkRoundRobin, Spill: []config.Spill{config.SpillDown},
		Members: []*config.LinkMember{{Link: "a", Weight: 1, Priority: 8}, {Link: "b", Weight: 1, Priority: 4}, {Link: "c", Weight: 1, Priority: 8}}}
	g, err := newGroup(c, []*config.Link{{Name: "a"}, {Name: "b"}, {Name: "c"}}, func(link string) uint16 { return uint16(link[0]) })
	if err != nil {
		t.Fatal(err)
	}
	near, table := RanksOf('b', 'c', 'a'), status.NewBoard(1).Table()
	for _, step := range []struct {
		row  status.Row
		want slots.ID
	}{
		{status.Row{ID: "link/a"}, 'c'}, {status.Row{ID: "link/c", Full: true}, 'a'},
		{status.Row{ID: "link/a", Health: status.Down}, 0}, {status.Row{ID: "link/c", Health: status.Down}, 'b'},
	} {
		table = table.With(step.row)
		_, r := g.Tick(slots.Input{Table: table, Now: time.Unix(1e9, 0), Every: time.Second}, slots.Load{}, slots.State{})
		if got := near.First(r.Available); got != step.want {
			t.Errorf("%s: proximity takes %q, want %q", step.row.ID, rune(got), rune(step.want))
		}
	}
}
