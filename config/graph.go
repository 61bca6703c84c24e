package config

import (
	"slices"
	"strings"
)

// graph looks for names that lead back to themselves.
type graph struct {
	next  func(string) []string // the names that a name refers to
	state map[string]visit
	trail []string
}

type visit uint8

const (
	fresh visit = iota
	onTrail
	done
)

// loop follows a name and gives "a -> b -> a" if it meets itself, or "". Names
// seen in an earlier call are not followed again, so a loop is told once.
func (g *graph) loop(name string) string {
	switch g.state[name] {
	case done:
		return ""
	case onTrail:
		i := slices.Index(g.trail, name)
		return strings.Join(append(g.trail[i:], name), " -> ")
	}
	g.state[name] = onTrail
	g.trail = append(g.trail, name)
	found := ""
	for _, n := range g.next(name) {
		if found = g.loop(n); found != "" {
			break
		}
	}
	g.trail = g.trail[:len(g.trail)-1]
	g.state[name] = done
	return found
}

// depth gives how many steps the longest way from a name has. The graph must
// have no loops.
func (g *graph) depth(name string, known map[string]int) int {
	if d, ok := known[name]; ok {
		return d
	}
	longest := 0
	for _, n := range g.next(name) {
		longest = max(longest, 1+g.depth(n, known))
	}
	known[name] = longest
	return longest
}

func newGraph(next func(string) []string) *graph {
	return &graph{next: next, state: map[string]visit{}}
}
