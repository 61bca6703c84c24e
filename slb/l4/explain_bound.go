package l4

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// limit tells a limit: whose, and in words.
func (p *Plan) limit(l kernel.Limit) (of, words string) {
	switch {
	case l.Table != Table:
		return "", ""
	case l.Element == nil:
		return p.limitOfPolicy(l)
	case strings.HasPrefix(l.Set, "vs_"):
		return "virtual server " + p.VirtualServerOf(number32(l.Key)), l.String()
	case strings.HasPrefix(l.Set, "srv_"):
		return p.tellServer(ID(number32(l.Key))), Rooms().Told(l).String()
	case strings.HasPrefix(l.Set, "rate_"):
		return p.tellPlace(l.Key), l.String()
	}
	return "", ""
}

// shut tells whose limit one is at who is in a set of those that are.
func (p *Plan) shut(l kernel.Limit) (of string) {
	if l.Table != Table || !Rooms().IsShut(l) {
		return ""
	}
	return p.tellServer(ID(number32(l.Key)))
}

// limitOfPolicy tells a bound of a limit policy: it has two counts for a bound.
func (p *Plan) limitOfPolicy(l kernel.Limit) (of, words string) {
	for _, q := range p.limits {
		for i, r := range q.Rules {
			if strings.HasPrefix(l.Chain, fmt.Sprintf("limit_%s_%d_v", traffic.Word(q.Name), i+1)) {
				return fmt.Sprintf("limit policy %s rule %d", q.Name, i+1), tellBound(r)
			}
		}
	}
	return "", ""
}

func tellBound(r *config.LimitRule) string {
	text := fmt.Sprintf("at most %d connections at once", r.Upper)
	if len(r.Per) > 0 {
		var per []string
		for _, w := range r.Per {
			per = append(per, string(w))
		}
		text += " for each " + strings.Join(per, " and ")
	}
	if r.Lower != r.Upper {
		text += fmt.Sprintf(", and then none until there are fewer than %d", r.Lower)
	}
	return text
}

// tellPlace tells whose an address and port is.
func (p *Plan) tellPlace(key []byte) string {
	if ids := p.ofSocket(key); len(ids) > 0 {
		return p.tellServer(ids[0])
	}
	size := len(key)
	if size == 8 || size == 20 {
		size -= 4
	}
	a, _ := netip.AddrFromSlice(key[:size])
	return "server at " + a.String()
}

// counters lists what counts connections that go a way: what its virtual server,
// rules, persistence, farm and server have, and what they refuse.
func (p *Plan) counters(w *kernel.Way, value func(traffic.Counted) (uint64, bool)) (list []flow.Counter) {
	add := func(hits []traffic.Hit) {
		for _, h := range p.read(hits) {
			c := flow.Counter{Kind: h.Kind, Name: h.Name, What: h.What}
			if value != nil {
				if n, ok := value(h.From); ok {
					c.Connections = &n
				}
			}
			list = append(list, c)
		}
	}
	s := p.served(w)
	if s == nil {
		return nil
	}
	add(p.byServer[s.VirtualServer].hits())
	counted := stepsOf(w)
	for _, q := range p.policies {
		for i := range q.Rules {
			if counted[ruleCounter(q.Name, i+1)] {
				add([]traffic.Hit{p.ruleHit(q, i)})
			}
		}
	}
	for _, k := range p.keeps {
		if counted[k.counter()] {
			add([]traffic.Hit{k.hit()})
		}
	}
	if f := p.byFarm[s.Farm]; f != nil {
		add(f.hits())
		if i := slices.IndexFunc(f.members, func(m *member) bool { return m.Name == s.Server }); i >= 0 {
			add(f.members[i].hits())
		}
	}
	return list
}

// stepsOf gives the named counters of ours that counted a packet on its way.
func stepsOf(w *kernel.Way) map[string]bool {
	all := map[string]bool{}
	for _, h := range w.Hooks {
		for i := range h.Visits {
			for _, s := range h.Visits[i].Did {
				if c, is := s.(kernel.Count); is && h.Visits[i].Table == Table {
					all[c.Name] = true
				}
			}
		}
	}
	return all
}

func number32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}
