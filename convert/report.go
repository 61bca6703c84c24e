package convert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/config"
)

// Kind says how much of something was taken over.
type Kind string

// The kinds.
const (
	Lost    Kind = "lost"    // nothing stands for it
	Differs Kind = "differs" // taken over, but there are cases in which it acts otherwise
	Note    Kind = "note"    // nothing is missing, but its owner may want to know
)

// Item is one thing that was not taken over as it was.
type Item struct {
	Kind  Kind       `json:"kind"`
	Place config.Pos `json:"place"` // where it is in what was read
	What  string     `json:"what"`  // such as "options.tcp_proxy" or "www.example.com. DYNA reflect"
	Why   string     `json:"why"`   // what is missing here, or how it differs
	Do    string     `json:"do"`    // what its owner can do; may be empty
}

// Report is everything that was not taken over as it was, in the order of the
// places.
type Report []Item

// Loses says whether anything is lost or acts otherwise; notes do not count.
func (r Report) Loses() bool {
	return slices.ContainsFunc(r, func(i Item) bool { return i.Kind != Note })
}

// String prints an item on one line.
func (i Item) String() string {
	text := fmt.Sprintf("%s: %s: %s: %s", i.Place, i.Kind, i.What, i.Why)
	if i.Do != "" {
		text += "; " + i.Do
	}
	return text
}

// Text prints one line an item.
func (r Report) Text() string {
	var b strings.Builder
	for _, i := range r {
		b.WriteString(i.String() + "\n")
	}
	return b.String()
}

// sorted brings items into the order of their places and drops those that
// stand there twice.
func (r Report) sorted() Report {
	slices.SortStableFunc(r, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Place.File, b.Place.File), cmp.Compare(a.Place.Line, b.Place.Line),
			cmp.Compare(a.Place.Col, b.Place.Col))
	})
	seen := make(map[Item]bool, len(r))
	return slices.DeleteFunc(r, func(i Item) bool {
		twice := seen[i]
		seen[i] = true
		return twice
	})
}
