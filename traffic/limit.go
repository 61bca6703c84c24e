package traffic

import (
	"fmt"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// Bounded says whose connections a limit policy bounds, and what becomes of
// those that it refuses.
type Bounded struct {
	// Name makes the chains and sets those of one owner: "limit_POLICY_NAME".
	// Without it they are of all owners together, "limit_POLICY", which Key has
	// to tell apart.
	Name string
	// Key and Type are a further part of what is counted for itself, such as the
	// number of a virtual server in the mark of the connection; nil: none.
	Key  kernel.Value
	Type kernel.Type
	// Refuse is done with what is over the limit. It ends with a verdict.
	Refuse []kernel.Step
	// Keys is how many a rule of the policy counts at once, for each family;
	// 0: 65536. What comes beyond is let through.
	Keys int
}

// LimitPolicy writes the chain of a limit policy, to be jumped to, and gives its
// name: the first rule that a connection matches decides (FAQ 1.2.9). What it
// admits comes back. It is for first packets of connections: each is counted.
func (b *Builder) LimitPolicy(p *config.LimitPolicy, of Bounded) string {
	name := "limit_" + Word(p.Name)
	if of.Name != "" {
		name += "_" + of.Name
	}
	return b.Chain(name, func() (rules []kernel.Rule) {
		for i, r := range p.Rules {
			for _, f := range Families() {
				set := fmt.Sprintf("limit_%s_%d_", Word(p.Name), i+1)
				when := All(b.Within(f.Source, set+"from"+f.Digit, f, r.Sources), b.Within(f.Dest, set+"to"+f.Digit, f, r.Destinations))
				if when == Condition(Never) {
					continue
				}
				tell := fmt.Sprintf("limit policy %s rule %d", p.Name, i+1)
				to := b.limitRule(fmt.Sprintf("%s_%d_v%s", name, i+1, f.Digit), tell, r, f, of)
				rules = append(rules, b.WhenOf(f, when, name+"_match", tell, kernel.Goto{Chain: to})...)
			}
		}
		return rules
	})
}

// limitRule writes the chain of one bound. There are two counts of the same
// connections, for a count is bound to its limit. At upper the key is shut, and
// stays so until it is below lower (T29):
//
//	over upper  ──────────────→ shut the key, refuse
//	over lower, key shut ─────→ refuse
//	not over lower ───────────→ open the key, admit
func (b *Builder) limitRule(name, tell string, r *config.LimitRule, f Family, of Bounded) string {
	const keysMost = 65536
	key, types := limitKey(r, f, of)
	upper, lower := r.Upper, r.Lower
	if parts, most := Divided(upper); !InKernel(upper) {
		key = append(key, kernel.Hash{Of: kernel.Join{f.Source, f.Dest, kernel.SourcePort, kernel.DestPort}, Mod: uint32(parts)})
		types = append(types, kernel.TypeNumber)
		upper, lower = most, max(1, lower/parts)
	}
	value := kernel.Value(key)
	if len(key) == 1 {
		value = key[0]
	}
	keys := of.Keys
	if keys == 0 {
		keys = keysMost
	}
	set := func(suffix string) string {
		return b.Set(kernel.Set{Name: name + suffix, Key: types, Dynamic: true, Size: keys})
	}
	over := func(suffix string, most int) kernel.Step {
		return kernel.Change{How: kernel.Add, Set: set(suffix), Key: value, Over: uint32(most)}
	}
	return b.Chain(name, func() []kernel.Rule {
		full := fmt.Sprintf("%s: full at %d", tell, r.Upper)
		if lower == upper {
			return []kernel.Rule{Rule(full, append([]kernel.Step{over("_upper", upper)}, of.Refuse...)...)}
		}
		shut := set("_shut")
		return []kernel.Rule{
			Rule(full, over("_upper", upper), kernel.Goto{Chain: b.Chain(name+"_full", func() []kernel.Rule {
				return []kernel.Rule{Rule("it is shut", kernel.Change{How: kernel.Put, Set: shut, Key: value}), Rule("", of.Refuse...)}
			})}),
			Rule(fmt.Sprintf("%s: not below %d", tell, r.Lower), over("_lower", lower), kernel.Goto{Chain: b.Chain(name+"_between", func() []kernel.Rule {
				return []kernel.Rule{Rule("still shut", append([]kernel.Step{kernel.In{Key: value, Set: shut}}, of.Refuse...)...)}
			})}),
			Rule("it is open", kernel.Change{How: kernel.Remove, Set: shut, Key: value}),
		}
	})
}

// limitKey gives what is counted for itself.
func limitKey(r *config.LimitRule, f Family, of Bounded) (key kernel.Join, types []kernel.Type) {
	if of.Key != nil {
		key, types = append(key, of.Key), append(types, of.Type)
	}
	if slices.Contains(r.Per, config.LimitPerSource) {
		key, types = append(key, f.Source), append(types, f.Addr)
	}
	if slices.Contains(r.Per, config.LimitPerDestination) {
		key, types = append(key, f.Dest), append(types, f.Addr)
	}
	if slices.Contains(r.Per, config.LimitPerService) {
		key, types = append(key, kernel.Protocol, kernel.DestPort), append(types, kernel.TypeProto, kernel.TypePort)
	}
	if len(key) == 0 { // all together: one key, the family
		key, types = append(key, kernel.Family), append(types, kernel.TypeProto)
	}
	return key, types
}
