package main

import (
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/status"
)

// A thing is printed at first and when anything of it changes, what goes is told,
// and what stays is not printed again, though its age grows.
func TestWatchPrintsChanges(t *testing.T) {
	at := time.Now()
	link := func(name string, busy bool) api.Link {
		return api.Link{Name: name, Row: status.Row{Busy: busy, Since: at, LoadSince: at, Why: "fine", LoadWhy: "in 8Mbps is over 7Mbps"}}
	}
	l, _ := findListing("links")
	for asJSON, want := range map[bool]string{
		false: `^LINK STATE
^one unknown
^two unknown
#
^two unknown busy
#
^one gone
#
^one unknown
`,
		true: `^{"name":"one",
^{"name":"two",
#
^{"name":"two",
#
^{"gone":true,"name":"one"}
#
^{"name":"one",
`,
	} {
		var out strings.Builder
		w := watcher{listing: l, w: &out, asJSON: asJSON}
		for i, list := range [][]any{
			{link("one", false), link("two", false)},
			{link("one", false), link("two", true)},
			{link("two", true)},
			{link("one", false), link("two", true)},
		} {
			var rows [][]string
			w.o.now = at.Add(time.Duration(i) * time.Second)
			for _, thing := range list {
				rows = append(rows, linkRow(thing.(api.Link), w.o))
			}
			if i > 0 {
				out.WriteString("#\n")
			}
			if done, err := w.look(list, rows, i == 0); done || err != nil {
				t.Fatal(done, err)
			}
		}
		got := strings.Split(out.String(), "\n")
		for i, prefix := range strings.Split(want, "\n") {
			prefix, begins := strings.CutPrefix(prefix, "^")
			if i >= len(got) || begins && !strings.HasPrefix(strings.Join(strings.Fields(got[i]), " ")+" ", prefix) || !begins && got[i] != prefix {
				t.Errorf("json %v, line %d:\n%s\nwant\n%s", asJSON, i, out.String(), want)
				break
			}
		}
	}
}

// --count bounds the lines, the header not counted; 0 does not.
func TestWatchCount(t *testing.T) {
	l, _ := findListing("links")
	for left, want := range map[uint]int{0: 4, 1: 2, 2: 3, 3: 4, 4: 4} {
		var out strings.Builder
		w := watcher{listing: l, w: &out, left: left}
		var list []any
		var rows [][]string
		for _, name := range []string{"a", "b", "c"} {
			list = append(list, api.Link{Name: name})
			rows = append(rows, linkRow(api.Link{Name: name}, w.o))
		}
		done, err := w.look(list, rows, true)
		if n := strings.Count(out.String(), "\n"); n != want || done != (left > 0 && left <= 3) || err != nil {
			t.Errorf("count %d: %d lines, done %v, %v", left, n, done, err)
		}
	}
}
