package topology

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/portolan-lb/portolan/config"
)

// compiler is the state of one Compile.
type compiler struct {
	model *config.Model
	src   config.Source
	errs  config.Errors

	facts   *facts
	isps    map[string]uint32
	files   map[string]*prefixFile // nil: it could not be read
	regions map[string]*regionBuild
	extents *extents
	unread  bool // a file or database could not be read, so what it lacks is unknown

	databases []*database
	plan      *plan
	geo       *geo
}

// plan judges clients: what Compile evaluates for each kind of client network,
// and Explain for one.
type plan struct {
	facts   int
	isps    []ispFact
	regions []region // each after those that it refers to
	rules   []*rule  // by priority, then order in the file
}

// rule is a compiled topology rule.
type rule struct {
	index int // in the file
	conf  *config.TopologyRule
	test  test
}

// match is a rule that matches a client, by a prefix of that length.
type match struct {
	rule *rule
	bits int
}

// Compile makes the table of the model's topology rules. Databases and prefix
// files are read through src; everything that is wrong with the rules or the
// files is reported in one run, and the table is nil if any of it is more than
// a warning. Rules that never match, or never come first, are warnings (T4).
func Compile(m *config.Model, src config.Source) (*Table, config.Errors) {
	c := &compiler{
		model: m, src: src, facts: newFacts(), plan: &plan{},
		isps: map[string]uint32{}, files: map[string]*prefixFile{}, regions: map[string]*regionBuild{},
	}
	c.readISPs()
	c.readRegions()
	c.readRules()
	c.readClasses()
	c.plan.facts = int(c.facts.count)
	c.geo = newGeo(c.facts.asked)
	v4, v6 := c.readDatabases()
	c.checkDatabases()
	if c.errs.Failed() {
		return nil, c.errs
	}
	t := c.table(v4, v6)
	c.reportRules(t)
	return t, c.errs
}

func (c *compiler) fail(pos config.Pos, path, format string, args ...any) {
	c.errs = append(c.errs, &config.Error{Pos: pos, Path: path, Text: fmt.Sprintf(format, args...)})
}

func (c *compiler) warn(pos config.Pos, path, format string, args ...any) {
	c.fail(pos, path, format, args...)
	c.errs[len(c.errs)-1].Warning = true
}

func (c *compiler) readRules() {
	for i, r := range c.model.Topology {
		var tests []test
		if r.Region != "" {
			tests = append(tests, c.regionOf(r.Region, r.Pos, rulePath(i)+".region"))
		}
		if r.Client.IsValid() {
			tests = append(tests, factTest(c.facts.inside(r.Client.Masked())))
		}
		c.plan.rules = append(c.plan.rules, &rule{i, r, allOf(tests)})
	}
	slices.SortStableFunc(c.plan.rules, func(a, b *rule) int { return cmp.Compare(b.conf.Priority, a.conf.Priority) })
}

func rulePath(i int) string { return fmt.Sprintf("topology[%d]", i) }

// readDatabases gives what all databases say together, the first going before
// the others.
func (c *compiler) readDatabases() (v4, v6 layer) {
	v4, v6 = newLayer(), newLayer()
	for _, ref := range c.model.Geo.Databases {
		d, err := openDatabase(c.src, ref)
		var d4, d6 layer
		if err == nil {
			d4, d6, err = d.layers(c.geo)
		}
		if err != nil {
			c.errs = append(c.errs, fileError(c.src.Show(ref), "%v", err)...)
			c.unread = true
			continue
		}
		c.databases = append(c.databases, d)
		v4, v6 = overlay(v4, d4, c.geo.join), overlay(v6, d6, c.geo.join)
	}
	return v4, v6
}

// checkDatabases reports matchers that no database can answer.
func (c *compiler) checkDatabases() {
	for _, a := range c.facts.databases {
		name := fieldNames[a.field]
		switch {
		case c.unread:
			// What the missing file would have said is not known.
		case c.geo.seen[a.field][a.field.fold(a.value)]:
		case a.spare:
			c.warn(a.pos, a.path, "%s %s occurs neither in the prefix file nor in a database", name.one, a.value)
		case c.geo.carried[a.field]:
			c.warn(a.pos, a.path, "%s %s occurs in no database", name.one, a.value)
		case len(c.model.Geo.Databases) == 0:
			c.fail(a.pos, a.path, "%s %s needs a geo database: list one in geo.databases", name.one, a.value)
		default:
			c.fail(a.pos, a.path, "%s %s: no database of geo.databases has %s", name.one, a.value, name.many)
		}
	}
}

// table lays the prefixes over the databases' answers and judges each pair
// that occurs once.
func (c *compiler) table(v4, v6 layer) *Table {
	profiles := newProfiles()
	t := &Table{plan: c.plan, geo: c.geo, databases: c.databases, profiles: profiles, extents: c.extents}
	t.prefixes4 = prefixLayer(c.facts.covers, true, profiles)
	t.prefixes6 = prefixLayer(c.facts.covers, false, profiles)
	g := &grader{plan: c.plan, geo: c.geo, profiles: profiles, byPair: map[[2]uint32]uint32{}, byText: map[string]uint32{}}
	g.class(nil)
	all4, all6 := overlay(v4, t.prefixes4, g.join), overlay(v6, t.prefixes6, g.join)
	t.classes = g.classes
	t.sets = newClassSets(len(t.classes))
	t.v4, t.v6 = newSpace(all4, t.sets), newSpace(all6, t.sets)
	t.sets.seal()
	t.indexPlaces(c.model.Topology)
	c.extents.measure(v4, t.prefixes4, true, g)
	c.extents.measure(v6, t.prefixes6, false, g)
	return t
}

// grader finds the class of a pair: an answer of the databases and a profile
// of the prefixes.
type grader struct {
	plan     *plan
	geo      *geo
	profiles *profiles
	ofAnswer []uint32 // by answer: 1 + its profile; 0 is not yet known
	byPair   map[[2]uint32]uint32
	byText   map[string]uint32
	classes  [][]uint32 // by class: the rules that match, in order
}

func (g *grader) join(answer, prefixes uint32) uint32 {
	pair := [2]uint32{g.answerProfile(answer), prefixes}
	class, ok := g.byPair[pair]
	if !ok {
		v := g.plan.view()
		v.learn(g.profiles.list[pair[0]])
		v.learn(g.profiles.list[pair[1]])
		class = g.class(g.plan.judge(v))
		g.byPair[pair] = class
	}
	return class
}

func (g *grader) answerProfile(answer uint32) uint32 {
	for int(answer) >= len(g.ofAnswer) {
		g.ofAnswer = append(g.ofAnswer, 0)
	}
	if g.ofAnswer[answer] == 0 {
		g.ofAnswer[answer] = 1 + g.geo.profile(answer, g.profiles)
	}
	return g.ofAnswer[answer] - 1
}

// class numbers a list of matching rules; the empty list is class 0.
func (g *grader) class(matches []match) uint32 {
	rules := make([]uint32, len(matches))
	text := make([]byte, 0, 4*len(matches))
	for i, m := range matches {
		r := m.rule.index
		rules[i] = uint32(r)
		text = append(text, byte(r>>24), byte(r>>16), byte(r>>8), byte(r))
	}
	class, ok := g.byText[string(text)]
	if !ok {
		class = uint32(len(g.classes))
		g.byText[string(text)] = class
		g.classes = append(g.classes, rules)
	}
	return class
}

// view is an empty view: nothing is known.
func (p *plan) view() *view {
	v := &view{facts: make([]int16, p.facts), regions: make([]int16, len(p.regions))}
	for i := range v.facts {
		v.facts[i] = noMatch
	}
	return v
}

// learn adds a profile. Of two lengths for one fact the longer counts.
func (v *view) learn(list []known) {
	for _, k := range list {
		v.facts[k.fact] = max(v.facts[k.fact], int16(k.bits))
	}
}

// judge gives the rules that match a view, in T4's order: priority, length of
// the client prefix, order in the file.
func (p *plan) judge(v *view) []match {
	for i, r := range p.regions {
		v.regions[i] = int16(r.test(v))
	}
	var matches []match
	for _, r := range p.rules {
		if bits := r.test(v); bits != noMatch {
			matches = append(matches, match{r, bits})
		}
	}
	slices.SortStableFunc(matches, func(a, b match) int {
		return cmp.Or(cmp.Compare(b.rule.conf.Priority, a.rule.conf.Priority), cmp.Compare(b.bits, a.bits))
	})
	return matches
}

// reportRules warns of rules without effect: those that match nobody, and
// those before which, for every client, another rule prefers the same place. A
// rule that only others' places precede is a second choice, and meant.
func (c *compiler) reportRules(t *Table) {
	rules := c.model.Topology
	acts := make([]bool, len(rules))
	behind := make(map[uint32]uint32) // a rule to one that takes its place
	for _, class := range t.classes {
		for i, r := range class {
			at := slices.IndexFunc(class[:i], func(o uint32) bool { return rules[o].Prefer == rules[r].Prefer })
			if at < 0 {
				acts[r] = true
			} else {
				behind[r] = class[at]
			}
		}
	}
	for i, r := range rules {
		other, later := behind[uint32(i)]
		switch {
		case acts[i]:
		case later:
			c.warn(r.Pos, rulePath(i), "rule has no effect: for every client %s goes before it and prefers the same place", ruleAt(other, rules[other]))
		default:
			c.warn(r.Pos, rulePath(i), "rule matches no client")
		}
	}
}

// ruleAt names a rule with its place in the file.
func ruleAt(index uint32, r *config.TopologyRule) string {
	if r.Pos.File == "" {
		return rulePath(int(index))
	}
	return rulePath(int(index)) + " (" + r.Pos.String() + ")"
}
