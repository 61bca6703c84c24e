package convert

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/config"
)

// group is a group of weighted addresses; an ungrouped family is one.
type group struct {
	name    string
	pos     config.Pos
	members []labelled
}

func (w *group) sum() (total int) {
	for _, a := range w.members {
		total += a.weight
	}
	return total
}

// even says whether all weights are one.
func even(weights []int) bool {
	return !slices.ContainsFunc(weights, func(w int) bool { return w != weights[0] })
}

func (w *group) weights() []int {
	all := make([]int, len(w.members))
	for i, a := range w.members {
		all[i] = a.weight
	}
	return all
}

// maxWeight is the largest weight of a member.
const maxWeight = 65535

// weighted answers one address or host name by weight; or several, where multi
// or groups say so.
func (g *gdnsd) weighted(d definition) *shape {
	own := pluginKeys["weighted"]
	if len(d.from) > 1 {
		own = metaKeys
	}
	if d.node.kind != hash {
		g.lost(d.pos, d.what(), "is "+kindNames[d.node.kind]+"; gdnsd wants a hash", "")
		return nil
	}
	var parts []*shape
	inherited := d.from.under(d.node)
	single := true
	families := 0
	for _, key := range []string{"addrs_v4", "addrs_v6"} {
		n := d.node.get(key)
		if n == nil {
			continue
		}
		families++
		part := d
		if d.node.get("addrs_v4") != nil && d.node.get("addrs_v6") != nil {
			part.base += ".v" + key[len(key)-1:]
		}
		s := g.weightedFamily(part, inherited.under(n), n, own)
		if s != nil {
			parts = append(parts, s)
			single = single && s.answers == 1
		}
	}
	if families == 0 {
		return g.weightedFamily(d, inherited, d.node, own)
	}
	if len(parts) == 2 && single {
		return g.eachByItself(&d, parts)
	}
	return g.together(&d, parts, true)
}

// eachByItself joins two families of which each gives one address. A pool of
// both as they are has an answer of one member; the family that it lacks is
// served by the other's members, by their weights.
func (g *gdnsd) eachByItself(d *definition, parts []*shape) *shape {
	s := g.newShape(d)
	m := memberList{g: g, answers: 1}
	for _, p := range parts {
		s.join(p)
		m.add(p, nil, "")
	}
	s.answers, s.one = 1, true
	g.addPool(s, mapping{{"quorum", bothFamilies(d, s)}, {"members", m.lines}})
	if s.probed {
		g.differs(d.pos, d.what(), "the two families are judged together here: when all addresses of one are down, gdnsd answers them all the same", "")
	}
	return s
}

func (g *gdnsd) weightedFamily(d definition, from chain, n *node, own []string) *shape {
	groups, grouped := g.weightedGroups(&d, n, own)
	if len(groups) == 0 {
		g.lost(d.pos, d.what(), "it has no addresses", "")
		return nil
	}
	multi := from.get("multi").isTrue()
	types := g.types(from)
	switch {
	case grouped && len(groups) > 1:
		return g.groupedPool(&d, from, groups, multi, types)
	case grouped: // one group: its addresses are chosen as if multi were turned round
		multi = !multi
	}
	return g.weightedPool(&d, from, &groups[0], multi, types)
}

// weightedGroups reads "label => [ address, weight ]", or groups of these.
func (g *gdnsd) weightedGroups(d *definition, n *node, own []string) (groups []group, grouped bool) {
	flat := group{name: "", pos: d.pos}
	if n.kind != hash {
		return nil, false
	}
	for _, p := range n.pairs {
		switch {
		case slices.Contains(own, p.key):
		case p.value.kind == hash:
			grouped = true
			w := group{name: p.key, pos: p.pos}
			for _, inner := range p.value.pairs {
				g.weightedMember(d, &w, inner)
			}
			if len(w.members) > 0 {
				groups = append(groups, w)
			}
		default:
			g.weightedMember(d, &flat, p)
		}
	}
	if len(flat.members) > 0 {
		if grouped {
			g.lost(flat.members[0].node.pos, d.what(), "addresses beside groups have no place", "")
			return groups, true
		}
		return []group{flat}, false
	}
	return groups, grouped
}

func (g *gdnsd) weightedMember(d *definition, w *group, p *pair) {
	what := d.what() + " " + p.key
	items := p.value.list()
	if len(items) != 2 {
		g.lost(p.pos, what, "[ address, weight ] belongs here", "")
		return
	}
	weight, ok := items[1].number()
	if !ok || weight < 1 || weight >= 1<<20 {
		g.lost(items[1].pos, what, items[1].String()+" is no weight from 1 to 1048575", "")
		return
	}
	a := labelled{label: p.key, node: items[0], weight: weight}
	if isAddr(items[0]) {
		if a.addr, ok = g.address(items[0], what); !ok {
			return
		}
	} else if _, ok := g.host(items[0], what); !ok {
		return
	}
	for i := range w.members {
		if o := &w.members[i]; strings.EqualFold(o.node.text, a.node.text) {
			g.differs(p.pos, what, a.node.text+" is there already: one member here, with the sum of the weights", "")
			o.weight += weight
			return
		}
	}
	w.members = append(w.members, a)
}

// scale brings weights into the range that members have.
func (g *gdnsd) scale(d *definition, weights []int) []int {
	common := 0
	for _, w := range weights {
		for a, b := common, w; ; a, b = b, a%b {
			if b == 0 {
				common = a
				break
			}
		}
	}
	largest := slices.Max(weights) / common
	scaled := make([]int, len(weights))
	for i, w := range weights {
		scaled[i] = w
		if slices.Max(weights) > maxWeight {
			scaled[i] = w / common
		}
		if largest > maxWeight {
			scaled[i] = max(int(math.Round(float64(w/common)*maxWeight/float64(largest))), 1)
		}
	}
	if largest > maxWeight {
		g.differs(d.pos, d.what(), fmt.Sprintf("weights end at %d here, so they are rounded", maxWeight), "")
	}
	return scaled
}

// weightedPool is one group: a member by weight, or several.
func (g *gdnsd) weightedPool(d *definition, from chain, w *group, multi bool, types []typeName) *shape {
	s := g.newShape(d)
	s.one = true
	weights := w.weights()
	cnames := !w.members[0].addr.IsValid()
	slot := any(mapping{{"algorithm", "random"}, {"weighted", true}})
	switch {
	case multi && cnames: // gdnsd heeds multi for addresses only
	case multi && even(weights):
		s.answers, s.one, slot = len(w.members), false, nil
	case multi:
		s.answers = g.expected(weights)
		g.differs(d.pos, d.what()+" multi", fmt.Sprintf("gdnsd adds each address with the chance of its weight against the largest, which is %d of %d on average; here an answer always carries %d, by weight",
			s.answers, len(weights), s.answers), "")
	case even(weights):
		slot = mapping{{"algorithm", "random"}}
	}
	g.boundAnswers(d, s.answers)
	members := g.weightedMembers(d, w, types, s)
	if len(members) == 1 && s.probed && d.key.mode == inner || len(members) == 1 && !s.probed {
		s.leaf, s.targets, s.one = members[0].value.(mapping), []string{w.members[0].node.text}, false
		if cnames {
			s.targets[0] = strings.ToLower(s.targets[0])
		}
		return s
	}
	need := int(math.Ceil(g.share(d, from) * float64(w.sum())))
	g.addPool(s, mapping{
		{"preferred", slot},
		{"answers", manyAnswers(s.answers)},
		g.shareByWeight(d, s, weights, need),
		{"members", members},
	})
	return s
}

// expected is how many addresses an answer of gdnsd carries on average.
func (g *gdnsd) expected(weights []int) int {
	sum := 0.0
	for _, w := range weights {
		sum += float64(w) / float64(slices.Max(weights))
	}
	return max(int(math.Round(sum)), 1)
}

func (g *gdnsd) weightedMembers(d *definition, w *group, types []typeName, s *shape) (members lines) {
	weights := g.scale(d, w.weights())
	for i, a := range w.members {
		m := mapping{{"address", a.addr.String()}}
		item := a.node.text
		if !a.addr.IsValid() {
			host, _ := g.host(a.node, d.what())
			m, item = mapping{{"cname", strings.TrimSuffix(host, ".")}}, host
			s.cname = true
		}
		s.v4, s.v6 = s.v4 || a.addr.Is4(), s.v6 || a.addr.Is6()
		if !even(weights) {
			m = append(m, entry{"weight", weights[i]})
		}
		if d.key.mode != open {
			probes, soon := g.probesFor(types, item)
			s.hurry(soon)
			s.probed = s.probed || len(probes) > 0
			m = append(m, entry{"probes", words(probes)})
		}
		members = append(members, line{m, a.label})
	}
	return members
}

// shareByWeight is healthShare for a threshold on the sum of weights. A count
// of members says the same if each so many reach it, and no fewer do. Where none
// does, the least count that can reach it is taken: what is up is answered
// rather than what is down.
func (g *gdnsd) shareByWeight(d *definition, s *shape, weights []int, need int) entry {
	if !s.probed {
		return entry{}
	}
	sorted := slices.Sorted(slices.Values(weights))
	count, low, high := 0, 0, 0 // sums of the smallest and the largest so many
	for count < len(sorted) && high < need {
		low, high = low+sorted[count], high+sorted[len(sorted)-1-count]
		count++
	}
	if low < need {
		g.differs(d.pos, d.what()+" up_thresh", fmt.Sprintf("gdnsd counts weights that are up (%d of %d); here members are counted (%d of %d)",
			need, sumOf(weights), count, len(weights)), "")
	}
	return g.healthShare(d, s, count, len(weights))
}

func sumOf(weights []int) (sum int) {
	for _, w := range weights {
		sum += w
	}
	return sum
}

// groupedPool is groups of addresses. Without multi one group answers, with
// those of its addresses that multi would choose; with multi each group gives
// one address. A pool has one or several members, of whatever group.
func (g *gdnsd) groupedPool(d *definition, from chain, groups []group, multi bool, types []typeName) *shape {
	s := g.newShape(d)
	s.one = true
	text := "gdnsd answers several addresses of the one group that it chose; here one of them, so that groups are not mixed"
	if multi {
		s.answers = len(groups)
		text = fmt.Sprintf("gdnsd answers one address of each group; here %d by weight, which may be of one group", s.answers)
	}
	if multi || slices.ContainsFunc(groups, func(w group) bool { return len(w.members) > 1 }) {
		g.differs(d.pos, d.what(), text, "")
	}
	g.boundAnswers(d, s.answers)
	var sums []int
	for i := range groups {
		sums = append(sums, groups[i].sum())
	}
	scaled := g.scale(d, sums)
	m := memberList{g: g, answers: s.answers}
	for i := range groups {
		part := *d
		part.base += "." + groups[i].name
		p := g.newShape(&part)
		members := g.weightedMembers(&part, &groups[i], types, p)
		g.addPool(p, mapping{{"preferred", mapping{{"algorithm", "random"}, {"weighted", true}}}, {"members", members}})
		s.join(p)
		m.add(p, mapping{{"weight", scaled[i]}}, "")
	}
	rest := mapping{{"preferred", mapping{{"algorithm", "random"}, {"weighted", true}}}, {"answers", manyAnswers(s.answers)}}
	if s.probed {
		g.differs(d.pos, d.what()+" up_thresh", "gdnsd counts the weights of all groups; here a group is left out when none of its addresses is up, and all answer when no group is left", "")
	}
	g.addPool(s, append(rest, entry{"members", m.lines}))
	return s
}
