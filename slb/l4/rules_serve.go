package l4

import (
	"fmt"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// serve gives a new connection of a virtual server a real server. The policy is
// asked first, then the farm of the virtual server (FAQ 1.1.7):
//
//	action with a farm                   that farm
//	action without one, or one without servers   drop
//	rule without action, no policy       the farm of the virtual server
//	no farm either                       drop
//
// A virtual server without a policy, limits, persistence and a backup, over a farm
// without limits, needs little of this: its farm is found in the one map that counts
// its connections, and how a slot is drawn stands with the number of the farm. Each
// look-up less counts, as with many virtual servers each waits for memory three
// times: for the bucket, the element, its counter.
func (w *writer) serve() []kernel.Rule {
	ours := traffic.AnyBit(kernel.CtMark, kernel.ServerMask)
	return []kernel.Rule{
		traffic.Rule("a new connection of a virtual server, which is counted", traffic.IsNew(), ours, become(w.lookup(ServedSet, served())),
			kernel.Goto{Chain: w.ChainFor(flow.VirtualServer, "", "decide", w.decide)}),
		traffic.Rule(tellNoFarm, ours, traffic.IsNew(), w.drop()),
	}
}

// decide goes on with what is known of a virtual server ([server.word]).
func (w *writer) decide() (rules []kernel.Rule) {
	if w.facts.Shut {
		rules = append(rules, traffic.Rule("an operator may hold it down", isKind(isFarm), kernel.Jump{Chain: w.limit()}))
	}
	rules = append(rules, w.common(kernel.Goto{Chain: w.give()})...)
	rules = append(rules,
		traffic.Rule("", isKind(0), kernel.Goto{Chain: w.give()}),
		traffic.Rule("", isKind(isTarget), kernel.Goto{Chain: w.target()}),
		traffic.Rule("", isKind(isFarm), kernel.Goto{Chain: w.ChainFor(RoleFarm, "", "draw_further", func() []kernel.Rule {
			return append(w.rest(kernel.Jump{Chain: w.nobody()}), traffic.Rule("", kernel.Goto{Chain: w.give()}))
		})}))
	var list []chosen
	for _, q := range w.policies {
		list = append(list, chosen{w.policyNumber(q.Name), kernel.Goto{Chain: w.policy(q)}})
	}
	rules = append(rules, w.choice("policy of the virtual server", "policy", "policies", served(), list)...)
	return append(rules, traffic.Rule("", kernel.Goto{Chain: w.fallback()}))
}

// fallback is the farm of the virtual server.
func (w *writer) fallback() string {
	return w.ChainFor(flow.VirtualServer, "", "default", func() (rules []kernel.Rule) {
		if len(w.policies) > 0 {
			rules = []kernel.Rule{traffic.Rule("the farm of the virtual server", become(w.lookup("target", served())), kernel.Goto{Chain: w.target()})}
		}
		return append(rules, traffic.Rule(tellNoFarm, w.drop()))
	})
}

// isKind goes on if what is known is of a kind; 0: a server.
func isKind(kind uint32) kernel.Step {
	return kernel.Is{Of: kernel.Masked{Of: now, Mask: kernel.Number(kinds)}, To: kernel.Number(kind)}
}

// drop counts and drops, whoever says why.
func (w *writer) drop() kernel.Step {
	return kernel.Goto{Chain: w.ChainFor(flow.VirtualServer, "", "drop", func() []kernel.Rule {
		return []kernel.Rule{traffic.Rule("what is dropped is counted", w.in("dropped", served())), traffic.Rule("", kernel.Drop{})}
	})}
}

// policyNumber and limitNumber are what maps hold for names.
func (p *Plan) policyNumber(name string) uint32 { return p.numbers["policy "+name] }
func (p *Plan) limitNumber(name string) uint32  { return p.numbers["limit policy "+name] }

// policy writes the chain of a policy: one for all virtual servers that use it.
func (w *writer) policy(q *config.FarmPolicy) string {
	name := "policy_" + traffic.Word(q.Name)
	return w.ChainFor(flow.Policy, q.Name, name, func() (rules []kernel.Rule) {
		m := traffic.Matcher{Builder: w.Builder, Classes: w.classes, Topology: w.topo, Far: traffic.Source, Now: w.facts.Now}
		for i, r := range q.Rules {
			number := i + 1
			tell := fmt.Sprintf("policy %s rule %d", q.Name, number)
			to := w.Chain(fmt.Sprintf("%s_%d", name, number), func() []kernel.Rule { return w.rule(q, number, r) })
			if r.Class == "" {
				rules = append(rules, traffic.Rule(tell+": everything", kernel.Jump{Chain: to}))
				continue
			}
			rules = append(rules, w.JumpWhen(func(f traffic.Family) traffic.Condition { return m.Class(w.classes[r.Class], f) },
				fmt.Sprintf("%s_%d_match", name, number), tell+": class "+r.Class, to)...)
		}
		return append(rules, traffic.Rule("what no rule took goes to the farm of the virtual server", kernel.Goto{Chain: w.fallback()}))
	})
}

// rule writes the chain of a rule. It comes back if nobody takes the connection
// and the action says to go on.
func (w *writer) rule(q *config.FarmPolicy, number int, r *config.FarmRule) []kernel.Rule {
	tell := fmt.Sprintf("policy %s rule %d", q.Name, number)
	counted := w.Count(ruleCounter(q.Name, number))
	if r.Action == nil {
		return []kernel.Rule{traffic.Rule(tell+": the farm of the virtual server", counted, kernel.Goto{Chain: w.fallback()})}
	}
	t := w.targetOf(r.Action)
	if t == nil {
		return []kernel.Rule{traffic.Rule(tell+": drop", counted, w.drop())}
	}
	var rules []kernel.Rule
	if r.Action.OnFailure == config.FailureContinue {
		rules = append(rules, traffic.Rule(tell+": nobody takes it: the next rule", w.in("empty", numberOf(t)), kernel.Return{}))
	}
	steps := []kernel.Step{counted}
	if r.Action.TOS != nil {
		steps = append(steps, kernel.SetCtLabel{Bits: kernel.ServiceLabel(uint8(*r.Action.TOS))})
	}
	steps = append(steps, become(numberOf(t)), kernel.Goto{Chain: w.target()})
	return append(rules, traffic.Rule(tell+": farm "+t.farm.Name, steps...))
}

func ruleCounter(policy string, number int) string {
	return fmt.Sprintf("rule/%s/%d", traffic.Word(policy), number)
}

func numberOf(t *target) kernel.Value { return number(t.number) }

// targetOf gives the target of an action; nil: it drops.
func (p *Plan) targetOf(a *config.FarmAction) *target {
	if p.byFarm[a.Farm] == nil {
		return nil
	}
	return p.byTarget[target{farm: p.byFarm[a.Farm], backup: p.byFarm[a.Backup], keep: p.byKeep[a.Persistence]}]
}

// target finds the server of a target: by its persistence, which asks the limits
// itself, or by limits and the algorithm.
func (w *writer) target() string {
	return w.ChainFor(flow.VirtualServer, "", "target", func() []kernel.Rule {
		var list []chosen
		for _, k := range w.keeps {
			list = append(list, chosen{k.number, kernel.Goto{Chain: w.keep(k)}})
		}
		rules := w.choice("persistence", "keep", "keeps", now, list)
		rules = append(rules, w.bounded()...)
		return append(rules,
			traffic.Rule("a server of the farm", kernel.Jump{Chain: w.draw()}),
			traffic.Rule("", kernel.Goto{Chain: w.give()}))
	})
}

// bounded asks the limits of the virtual server, if there are any.
func (w *writer) bounded() []kernel.Rule {
	if !w.has.limited() && !w.facts.Shut {
		return nil
	}
	return []kernel.Rule{traffic.Rule("limits of the virtual server", kernel.Jump{Chain: w.limit()})}
}

// limit writes the limits of virtual servers: their own, then those of the limit
// policy, and both must admit (FAQ 1.2.9).
func (w *writer) limit() string {
	return w.ChainFor(flow.VirtualServer, "", "limit", func() (rules []kernel.Rule) {
		refuse := kernel.Goto{Chain: w.Chain("refuse", func() []kernel.Rule {
			return []kernel.Rule{traffic.Rule("over a limit of the virtual server", w.in("limited", served())), traffic.Rule("", kernel.Drop{})}
		})}
		for _, l := range []struct {
			there     bool
			set, tell string
		}{{w.has.shut || w.facts.Shut, "vs_shut", "the daemon says so: it has as many connections as it may, or is held down"}, {w.has.vsFull, "vs_full", "it has as many connections as it may"}, {w.has.vsFast, "vs_fast", "more new connections a second than it may have"}} {
			if l.there {
				rules = append(rules, traffic.Rule(l.tell, w.in(l.set, served()), refuse))
			}
		}
		var list []chosen
		for _, l := range w.limits {
			chain := w.LimitPolicy(l, traffic.Bounded{Key: served(), Type: kernel.TypeNumber, Refuse: []kernel.Step{refuse}})
			list = append(list, chosen{w.limitNumber(l.Name), kernel.Jump{Chain: chain}})
		}
		return append(rules, w.choice("limit policy", "limits", "limit_policies", served(), list)...)
	})
}

// give translates the destination. What has no address of its family goes nowhere.
func (w *writer) give() string {
	return w.ChainFor(RoleServer, "", "give", func() []kernel.Rule {
		var rules []kernel.Rule
		for _, f := range traffic.Families() {
			ported := traffic.Rule("the server is counted: its address and port", f.Only(), kernel.DNAT{IPv6: f.IPv6(), To: w.lookup("server"+f.Digit, now), Port: true})
			ported.Ported = !w.has.everyProtocol
			rules = append(rules, ported,
				traffic.Rule("the server is counted: its address; the port stays", f.Only(), kernel.DNAT{IPv6: f.IPv6(), To: w.lookup("host"+f.Digit, now)}))
		}
		return append(rules, traffic.Rule("the server has no address of this family", w.Count("unaddressed"), kernel.Drop{}))
	})
}
