package topology

import (
	"fmt"

	"github.com/portolan-lb/portolan/config"
)

// view is what is known of one client network while it is judged: for each
// fact and each region the length by which it holds, or noMatch.
type view struct {
	facts   []int16
	regions []int16
}

// test judges a view: the length of the client prefix that matched, or
// noMatch.
type test func(v *view) int

func factTest(fact uint32) test  { return func(v *view) int { return int(v.facts[fact]) } }
func regionTest(region int) test { return func(v *view) int { return int(v.regions[region]) } }
func never(*view) int            { return noMatch }

// allOf matches when every test does, by the longest; no tests match everyone.
func allOf(tests []test) test {
	if len(tests) == 1 {
		return tests[0]
	}
	return func(v *view) int {
		longest := 0
		for _, t := range tests {
			n := t(v)
			if n == noMatch {
				return noMatch
			}
			longest = max(longest, n)
		}
		return longest
	}
}

// anyOf matches when one test does, by the longest of those that do.
func anyOf(tests []test) test {
	return func(v *view) int {
		longest := noMatch
		for _, t := range tests {
			longest = max(longest, t(v))
		}
		return longest
	}
}

// noneOf matches, by length 0, when no test does.
func noneOf(tests []test) test {
	some := anyOf(tests)
	return func(v *view) int {
		if some(v) == noMatch {
			return 0
		}
		return noMatch
	}
}

// region is a compiled region. Its test may refer to regions before it.
type region struct {
	name string
	test test
}

// regionBuild is the state of a region while regions are compiled.
type regionBuild struct {
	conf  *config.Region
	path  string
	open  bool // being compiled: meeting it again is a loop
	index int  // in the plan; -1 until compiled
}

// readRegions compiles all regions, those that others refer to first.
func (c *compiler) readRegions() {
	for i, r := range c.model.Regions {
		c.regions[r.Name] = &regionBuild{conf: r, path: fmt.Sprintf("regions[%d]", i), index: -1}
	}
	for _, r := range c.model.Regions {
		c.region(c.regions[r.Name])
	}
}

// region compiles one region and gives its test.
func (c *compiler) region(b *regionBuild) test {
	if b.index < 0 {
		b.open = true
		t := allOf(c.lists(b.conf.Any, b.conf.All, b.conf.Not, b.path))
		b.open = false
		b.index = len(c.plan.regions)
		c.plan.regions = append(c.plan.regions, region{b.conf.Name, t})
	}
	return regionTest(b.index)
}

// lists compiles any, all and not, which must all hold.
func (c *compiler) lists(some, every, none []*config.Match, path string) []test {
	var tests []test
	if len(some) > 0 {
		tests = append(tests, anyOf(c.matches(some, path+".any")))
	}
	if len(every) > 0 {
		tests = append(tests, allOf(c.matches(every, path+".all")))
	}
	if len(none) > 0 {
		tests = append(tests, noneOf(c.matches(none, path+".not")))
	}
	return tests
}

func (c *compiler) matches(list []*config.Match, path string) []test {
	tests := make([]test, len(list))
	for i, m := range list {
		tests[i] = c.match(m, fmt.Sprintf("%s[%d]", path, i))
	}
	return tests
}

// match compiles one matcher: all of its fields that are set must hold.
func (c *compiler) match(m *config.Match, path string) test {
	var tests []test
	if m.Prefix.IsValid() {
		tests = append(tests, factTest(c.facts.inside(m.Prefix.Masked())))
	}
	if m.ISP != "" {
		tests = append(tests, c.ispTest(m, path))
	}
	if m.Region != "" {
		tests = append(tests, c.regionOf(m.Region, m.Pos, path))
	}
	for field, value := range geoFields(m) {
		fact := c.facts.says(ask{field: field, value: value, pos: m.Pos, path: path})
		tests = append(tests, factTest(fact))
	}
	return allOf(append(tests, c.lists(m.Any, m.All, m.Not, path)...))
}

// regionOf gives the test of a region by name. Load refuses unknown names and
// loops; they are errors here too, so that Compile is safe for any model.
func (c *compiler) regionOf(name string, pos config.Pos, path string) test {
	b := c.regions[name]
	switch {
	case b == nil:
		c.fail(pos, path, "no region is named %q", name)
		return never
	case b.open:
		c.fail(pos, path, "region %q contains itself", name)
		return never
	}
	return c.region(b)
}

func (c *compiler) ispTest(m *config.Match, path string) test {
	fact, ok := c.isps[m.ISP]
	if !ok {
		c.fail(m.Pos, path, "no isp is named %q", m.ISP)
		return never
	}
	return factTest(fact)
}
