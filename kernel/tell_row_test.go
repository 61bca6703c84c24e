package kernel

import (
	"log/slog"
	"testing"

	"github.com/portolan-lb/portolan/status"
)

// named is a part that only has a name.
type named struct {
	part
	is string
}

func (n named) name() string { return n.is }

// The row of an owner says that Linux is as wished when every part has said so, and
// that it is not as soon as one does.
func TestRowOfAllParts(t *testing.T) {
	var told []status.Row
	tables, routes := named{is: "nftables"}, named{is: "routing"}
	k := &Kernel{opts: Options{Log: slog.New(slog.DiscardHandler), Report: func(rows []status.Row, _ []status.ID) { told = append(told, rows...) }},
		parts: []part{tables, routes}, problems: map[string]map[string][]string{}}
	k.expect("one")
	k.tell(tables, "one", nil)
	if len(told) > 0 {
		t.Errorf("before routes are there: %v", told)
	}
	k.tell(routes, "one", nil)
	if len(told) != 1 || told[0].Health != status.Up {
		t.Errorf("when all is there: %v", told)
	}
	k.expect("two")
	k.tell(routes, "two", []string{"no such interface"})
	if len(told) != 2 || told[1].Health != status.Down || told[1].Why != "no such interface" {
		t.Errorf("what cannot be: %v", told)
	}
}
