package outbound

import (
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
)

// Stick is the map of a persistence in a link group: which client has which
// link, written by packets.
type Stick struct {
	Persistence string
	Group       string
	Set         string // of [Table]
	IPv6        bool
	Pair        bool // the key is source and destination, masked; else the source
}

// stick is the name of a map. Clients keep their links in each group for itself:
// a link of one group may not be in another.
func stick(s *config.Persistence, g *config.LinkGroup, f family) string {
	return "stick" + f.digit + "_" + word(s.Name) + "_" + word(g.Name)
}

// Sticks gives all maps of persistence that rules use.
func (p *Plan) Sticks() (list []Stick) {
	for _, v := range p.variants {
		for _, name := range v.sticks {
			s := p.keeps[name]
			for _, f := range families() {
				list = append(list, Stick{s.Name, v.Group.Name, stick(s, v.Group, f), f.index == 1, s.By == config.PersistBySourceDestination})
			}
		}
	}
	return list
}

// stickKey is what makes connections similar.
func stickKey(s *config.Persistence, f family) kernel.Value {
	source := f.masked(f.source, f.maskOf(s.Mask))
	if s.By == config.PersistBySourceDestination {
		return kernel.Join{source, f.masked(f.dest, f.maskOf(s.DestinationMask))}
	}
	return source
}

// stickSet writes the map of a family. How long an entry lives stands in the
// rules that write it, so that another timeout leaves the entries there are.
func (b *builder) stickSet(s *config.Persistence, g *config.LinkGroup, f family) string {
	key := []kernel.Type{f.addr}
	if s.By == config.PersistBySourceDestination {
		key = append(key, f.addr)
	}
	b.roles["set "+stick(s, g, f)] = flow.Role{Kind: flow.Persistence, Name: s.Name}
	return b.set(kernel.Set{Name: stick(s, g, f), Key: key, Data: []kernel.Type{kernel.TypeNumber}, Dynamic: true, Timeout: time.Hour, Size: s.MaxEntries})
}

// learn makes an entry of the link in the packet mark, or renews the one there
// is, which keeps its link: a stale one was removed before.
func (b *builder) learn(s *config.Persistence, g *config.LinkGroup, f family) kernel.Step {
	return kernel.Change{How: kernel.Put, Set: b.stickSet(s, g, f), Key: stickKey(s, f), Data: linkOf(kernel.Mark), Timeout: time.Duration(s.Timeout)}
}

// stay writes the rules for clients that have a link.
func (b *builder) stay(v *Variant, s *config.Persistence) (rules []kernel.Rule) {
	if s == nil {
		return nil
	}
	for _, f := range families() {
		rules = append(rules, rule("persistence "+s.Name+": the client has a link",
			kernel.In{Key: stickKey(s, f), Set: b.stickSet(s, v.Group, f)}, kernel.Jump{Chain: b.entry(v, s, f)}))
	}
	return rules
}

// entry writes the chain of a client that has a link: it is honoured while the
// link is one of those that it may bypass limits for (FAQ 1.2.8, C2), else
// forgotten, so that all that the client does from now on goes by another one.
func (b *builder) entry(v *Variant, s *config.Persistence, f family) string {
	set := b.stickSet(s, v.Group, f)
	number := []kernel.Type{kernel.TypeNumber}
	may, tell := "avail_"+v.word, "the link takes new connections"
	switch {
	case s.OverrideLimit:
		may, tell = "alive_"+v.word, "the link lives: its limits are overridden"
		b.set(kernel.Set{Name: may, Key: number, Verdicts: true, Elements: v.alive})
	case s.OverrideBusy:
		may, tell = "loose_"+v.word, "the link takes new connections, or is but busy"
		b.set(kernel.Set{Name: may, Key: number, Verdicts: true, Elements: v.loose})
	}
	return b.chainFor(flow.Persistence, s.Name, "entry"+f.digit+"_"+v.word+"_"+word(s.Name), func() []kernel.Rule {
		return []kernel.Rule{
			rule(tell, kernel.Choose{Key: kernel.Lookup{Key: stickKey(s, f), Map: set}, Map: may}),
			rule("it is kept", anyBit(kernel.CtMark, kernel.LinkMask, false), kernel.Goto{Chain: b.kept(v, s, f)}),
			rule("it is forgotten", kernel.Change{How: kernel.Remove, Set: set, Key: stickKey(s, f), Data: linkOf(kernel.Mark)}),
		}
	})
}

// kept writes the chain of a client that keeps its link.
func (b *builder) kept(v *Variant, s *config.Persistence, f family) string {
	return b.chainFor(flow.Persistence, s.Name, "kept"+f.digit+"_"+v.word+"_"+word(s.Name), func() []kernel.Rule {
		return []kernel.Rule{
			rule("persistence "+s.Name+" renews the entry", b.learn(s, v.Group, f)),
			rule("placed by persistence", append(append([]kernel.Step{b.count("persistence/" + word(s.Name))}, b.entered(v)...),
				kernel.SetCtMark{Mask: kernel.Placed, Bits: kernel.Placed}, kernel.Choose{Key: linkOf(kernel.Mark), Map: "place"})...),
		}
	})
}

// only writes the chain that looks at entries alone, for what those who have one
// pass: limits of the virtual server, and that all links are busy.
func (b *builder) only(v *Variant, s *config.Persistence) string {
	return b.chainFor(flow.LinkGroup, v.Name, "stay_"+v.word+"_"+word(s.Name), func() []kernel.Rule {
		b.variant(v)
		return b.stay(v, s)
	})
}
