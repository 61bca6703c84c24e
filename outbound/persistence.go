package outbound

import (
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// Stick is the map of a persistence in a link group: which client has which
// link, written by packets.
type Stick struct {
	Persistence string
	Group       string
	Set         string // of [Table]
	IPv6        bool
}

// stick is the name of a map. Clients keep their links in each group for itself:
// a link of one group may not be in another.
func stick(s *config.Persistence, g *config.LinkGroup, f traffic.Family) string {
	return "stick" + f.Digit + "_" + traffic.Word(s.Name) + "_" + traffic.Word(g.Name)
}

// Sticks gives all maps of persistence that rules use.
func (p *Plan) Sticks() (list []Stick) {
	for _, v := range p.variants {
		for _, name := range v.sticks {
			s := p.keeps[name]
			for _, f := range traffic.Families() {
				list = append(list, Stick{s.Name, v.Group.Name, stick(s, v.Group, f), f.IPv6()})
			}
		}
	}
	return list
}

// stickKey is what makes connections similar.
func stickKey(s *config.Persistence, f traffic.Family) kernel.Value {
	return traffic.SimilarBy(s).Key(f)
}

// stickSet writes the map of a family.
func (b *builder) stickSet(s *config.Persistence, g *config.LinkGroup, f traffic.Family) string {
	return b.Entries(stick(s, g, f), s, traffic.SimilarBy(s), f, kernel.TypeNumber)
}

// learn makes an entry of the link in the packet mark, or renews the one there
// is, which keeps its link: a stale one was removed before.
func (b *builder) learn(s *config.Persistence, g *config.LinkGroup, f traffic.Family) kernel.Step {
	return kernel.Change{How: kernel.Put, Set: b.stickSet(s, g, f), Key: stickKey(s, f), Data: linkOf(kernel.Mark), Timeout: time.Duration(s.Timeout)}
}

// stay writes the rules for clients that have a link.
func (b *builder) stay(v *Variant, s *config.Persistence) (rules []kernel.Rule) {
	if s == nil {
		return nil
	}
	for _, f := range traffic.Families() {
		rules = append(rules, traffic.Rule("persistence "+s.Name+": the client has a link",
			kernel.In{Key: stickKey(s, f), Set: b.stickSet(s, v.Group, f)}, kernel.Jump{Chain: b.entry(v, s, f)}))
	}
	return rules
}

// entry writes the chain of a client that has a link: it is honoured while the
// link is one of those that it may bypass limits for (FAQ 1.2.8, C2), else
// forgotten, so that all that the client does from now on goes by another one.
func (b *builder) entry(v *Variant, s *config.Persistence, f traffic.Family) string {
	set := b.stickSet(s, v.Group, f)
	number := []kernel.Type{kernel.TypeNumber}
	may, tell := "avail_"+v.word, "the link takes new connections"
	switch {
	case s.OverrideLimit:
		may, tell = "alive_"+v.word, "the link lives: its limits are overridden"
		b.Set(kernel.Set{Name: may, Key: number, Verdicts: true, Elements: v.alive})
	case s.OverrideBusy:
		may, tell = "loose_"+v.word, "the link takes new connections, or is but busy"
		b.Set(kernel.Set{Name: may, Key: number, Verdicts: true, Elements: v.loose})
	}
	return b.ChainFor(flow.Persistence, s.Name, "entry"+f.Digit+"_"+v.word+"_"+traffic.Word(s.Name), func() []kernel.Rule {
		return []kernel.Rule{
			traffic.Rule(tell, kernel.Choose{Key: kernel.Lookup{Key: stickKey(s, f), Map: set}, Map: may}),
			traffic.Rule("it is kept", traffic.AnyBit(kernel.CtMark, kernel.LinkMask), kernel.Goto{Chain: b.kept(v, s, f)}),
			traffic.Rule("it is forgotten", kernel.Change{How: kernel.Remove, Set: set, Key: stickKey(s, f), Data: linkOf(kernel.Mark)}),
		}
	})
}

// kept writes the chain of a client that keeps its link.
func (b *builder) kept(v *Variant, s *config.Persistence, f traffic.Family) string {
	return b.ChainFor(flow.Persistence, s.Name, "kept"+f.Digit+"_"+v.word+"_"+traffic.Word(s.Name), func() []kernel.Rule {
		return []kernel.Rule{
			traffic.Rule("persistence "+s.Name+" renews the entry", b.learn(s, v.Group, f)),
			traffic.Rule("placed by persistence", append(append([]kernel.Step{b.Count("persistence/" + traffic.Word(s.Name))}, b.entered(v)...),
				kernel.SetCtMark{Mask: kernel.Placed, Bits: kernel.Placed}, kernel.Choose{Key: linkOf(kernel.Mark), Map: "place"})...),
		}
	})
}

// only writes the chain that looks at entries alone, for what those who have one
// pass: limits of the virtual server, and that all links are busy.
func (b *builder) only(v *Variant, s *config.Persistence) string {
	return b.ChainFor(flow.LinkGroup, v.Name, "stay_"+v.word+"_"+traffic.Word(s.Name), func() []kernel.Rule {
		b.variant(v)
		return b.stay(v, s)
	})
}
