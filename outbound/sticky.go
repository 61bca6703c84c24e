package outbound

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// StickyQuery says which entries of persistence are meant. What is left out
// matches all.
type StickyQuery struct {
	Group, Link string
	Client      netip.Prefix // entries of clients inside it, and of the network around it
}

// StickyEntry is a client that keeps its link in a group.
type StickyEntry struct {
	Persistence string          `json:"persistence"`
	Group       string          `json:"group"`
	Client      netip.Prefix    `json:"client"`
	Destination netip.Prefix    `json:"destination,omitzero"` // of persistence by source-destination
	Link        string          `json:"link"`                 // "" if there is none of its number any more
	Expires     config.Duration `json:"expires"`              // unless a new connection renews it

	key []byte
}

// Sticky gives each entry that is meant to yield, as packets have left them in
// the kernel, until yield says false. A map of 50,000 takes some 50 ms.
func (o *Outbound) Sticky(q StickyQuery, yield func(StickyEntry) bool) error {
	p := o.Plan()
	if p == nil {
		return nil
	}
	for _, s := range p.sticks(q) {
		list, err := o.opts.Kernel.Elements(Table, s.Set)
		if err != nil {
			return err
		}
		for i := range list {
			if e, ok := p.entryOf(&s, &list[i]); ok && q.matches(&e) && !yield(e) {
				return nil
			}
		}
	}
	return nil
}

// ClearSticky has the kernel forget the entries that are meant, and says how
// many they were. Connections that there are stay where they are; the next new
// one of such a client is given a link as if it were the first.
func (o *Outbound) ClearSticky(q StickyQuery) (n int, err error) {
	p := o.Plan()
	if p == nil {
		return 0, nil
	}
	for _, s := range p.sticks(q) {
		list, err := o.opts.Kernel.Elements(Table, s.Set)
		if err != nil {
			return n, err
		}
		var keys [][]byte
		for i := range list {
			if e, ok := p.entryOf(&s, &list[i]); ok && q.matches(&e) {
				keys = append(keys, e.key)
			}
		}
		if len(keys) == 0 {
			continue
		}
		if err := o.opts.Kernel.Delete(Table, s.Set, keys...); err != nil {
			return n, err
		}
		n += len(keys)
	}
	return n, nil
}

// sticks gives the maps in which entries of a query may be, each once: variants
// of a group share theirs.
func (p *Plan) sticks(q StickyQuery) (list []Stick) {
	seen := map[string]bool{}
	for _, s := range p.Sticks() {
		other := q.Client.IsValid() && q.Client.Addr().Is6() != s.IPv6
		if seen[s.Set] || other || q.Group != "" && q.Group != s.Group {
			continue
		}
		seen[s.Set] = true
		list = append(list, s)
	}
	return list
}

func (q *StickyQuery) matches(e *StickyEntry) bool {
	return (q.Link == "" || q.Link == e.Link) && (!q.Client.IsValid() || q.Client.Overlaps(e.Client))
}

// entryOf reads an element of a map. It is not ok if that is of another shape,
// which a map of this plan never has.
func (p *Plan) entryOf(s *Stick, el *kernel.Element) (e StickyEntry, ok bool) {
	f := traffic.Families()[0]
	if s.IPv6 {
		f = traffic.Families()[1]
	}
	keep := p.keeps[s.Persistence]
	if len(el.Data) < 4 || keep == nil {
		return e, false
	}
	client, ok := traffic.SimilarBy(keep).Read(f, el.Key)
	if !ok {
		return e, false
	}
	e = StickyEntry{Persistence: s.Persistence, Group: s.Group, Link: p.LinkOf(binary.NativeEndian.Uint32(el.Data)),
		Client: client.Source, Destination: client.Destination, Expires: config.Duration(el.Expires.Round(time.Second)), key: el.Key}
	return e, true
}
