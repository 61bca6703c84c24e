package topology

import (
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
)

// Place is where a member would send a client, scored for every class. It is
// immutable and belongs to the table that made it.
type Place struct {
	scores []uint32 // by class; 0: no rule of the class prefers the place
}

// Score says how well the place suits clients of the class: higher is better,
// and equal only where the same rule decides (1.4.4). Scores of different
// classes cannot be compared. ok is false when no rule that matches the client
// prefers the place. Score does not allocate.
func (p *Place) Score(c Class) (score int, ok bool) {
	if int(c) >= len(p.scores) {
		return 0, false
	}
	s := p.scores[c]
	return int(s), s > 0
}

// Place gives the place of a member: its virtual server, site and link, each
// empty if it has none, and its addresses. Members that the same rules prefer
// share one Place. It is for compiling, not for queries: it locks and may
// allocate. Any number of goroutines may call it.
func (t *Table) Place(vs, site, link string, addrs []netip.Addr) *Place {
	rules := t.preferring(vs, site, link, addrs)
	text := make([]byte, 0, 4*len(rules))
	for _, r := range rules {
		text = append(text, byte(r>>24), byte(r>>16), byte(r>>8), byte(r))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.places[string(text)]
	if p == nil {
		p = t.score(rules)
		t.places[string(text)] = p
	}
	return p
}

// preferring gives the rules that prefer a place, in ascending order.
func (t *Table) preferring(vs, site, link string, addrs []netip.Addr) []uint32 {
	var rules []uint32
	if vs != "" {
		rules = append(rules, t.byName[config.Place{VirtualServer: vs}]...)
	}
	if site != "" {
		rules = append(rules, t.byName[config.Place{Site: site}]...)
	}
	if link != "" {
		rules = append(rules, t.byName[config.Place{Link: link}]...)
	}
	for prefix, list := range t.byPrefix {
		if slices.ContainsFunc(addrs, prefix.Contains) {
			rules = append(rules, list...)
		}
	}
	slices.Sort(rules)
	return slices.Compact(rules)
}

// score works out a place's score for every class: the rank, from the end, of
// the first rule that prefers it.
func (t *Table) score(rules []uint32) *Place {
	prefers := make(map[uint32]bool, len(rules))
	for _, r := range rules {
		prefers[r] = true
	}
	p := &Place{scores: make([]uint32, len(t.classes))}
	for c, list := range t.classes {
		if i := slices.IndexFunc(list, func(r uint32) bool { return prefers[r] }); i >= 0 {
			p.scores[c] = uint32(len(list) - i)
		}
	}
	return p
}

func (t *Table) indexPlaces(rules []*config.TopologyRule) {
	t.byName, t.byPrefix = map[config.Place][]uint32{}, map[netip.Prefix][]uint32{}
	t.places = map[string]*Place{}
	for i, r := range rules {
		if r.Prefer.Prefix.IsValid() {
			p := r.Prefer.Prefix.Masked()
			t.byPrefix[p] = append(t.byPrefix[p], uint32(i))
		} else {
			t.byName[r.Prefer] = append(t.byName[r.Prefer], uint32(i))
		}
	}
}
