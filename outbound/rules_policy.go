package outbound

import (
	"fmt"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// site is where an action stands.
type site struct {
	name   string // for the operator
	server *config.OutboundVirtualServer
	late   bool // the virtual server's limits are asked by actions, after persistence that overrides them
}

// policyChain is the name of a policy's chain: one for all virtual servers that
// use it alike.
func policyChain(q *config.Policy, at site) string {
	name := "policy_" + traffic.Word(q.Name)
	if at.server.BusyProtection {
		name += "_busy"
	}
	if at.late {
		name += "_for_" + traffic.Word(at.server.Name)
	}
	return name
}

// policy writes the chain of a policy. It comes back if no rule took the
// connection. A class that does not match goes on to the next rule always, an
// action that finds no link only if it says so (FAQ 1.2.10, 1.2.11).
func (b *builder) policy(q *config.Policy, at site) string {
	name := policyChain(q, at)
	return b.ChainFor(flow.Policy, q.Name, name, func() (rules []kernel.Rule) {
		for i, r := range q.Rules {
			number := i + 1
			at.name = fmt.Sprintf("policy %s rule %d", q.Name, number)
			counter := b.Count(fmt.Sprintf("rule/%s/%d", traffic.Word(q.Name), number))
			to := b.ChainFor(flow.Policy, q.Name, fmt.Sprintf("%s_%d", name, number), func() []kernel.Rule {
				made := append([]kernel.Rule{traffic.Rule(at.name, counter)}, wish(r.Action.TOS, kernel.WishedMask)...)
				return append(append(made, b.action(&r.Action, at)...), unwish(&r.Action)...)
			})
			when, tell := func(traffic.Family) traffic.Condition { return traffic.Always }, at.name+": everything"
			if r.Class != "" {
				when = func(f traffic.Family) traffic.Condition { return b.Class(b.Classes[r.Class], f) }
				tell = at.name + ": class " + r.Class
			}
			rules = append(rules, b.JumpWhen(when, fmt.Sprintf("%s_%d_match", name, number), tell, to)...)
		}
		return rules
	})
}

// action writes the rules of an action. They come back if it goes on.
func (b *builder) action(a *config.PolicyAction, at site) []kernel.Rule {
	if a.Do == config.ActionDrop {
		return []kernel.Rule{traffic.Rule(at.name+": drop", b.Count("dropped/"+traffic.Word(at.server.Name)), kernel.Drop{})}
	}
	var rules []kernel.Rule
	var limits []kernel.Rule
	if at.late {
		limits = []kernel.Rule{traffic.Rule("limits of virtual server "+at.server.Name, kernel.Jump{Chain: b.limits(at.server)})}
	}
	if a.Do == config.ActionForward {
		rules = append(limits, b.serve()...)
		if wishes := b.wishes(); wishes > 0 {
			rules = append(rules, traffic.Rule("", kernel.SetMark{Mask: wishes}))
		}
		return append(rules, traffic.Rule(at.name+": by the routing table", kernel.Accept{}))
	}
	s := b.plan.keeps[a.Persistence]
	tries := b.tries(a, at)
	waits := a.OnBusy == config.BusyContinue && len(tries) > 0 && b.facts.Lapsed[tries[0].Name]
	for _, v := range tries {
		b.group(v, s) // its sets stay, whatever the facts
		if s != nil && (s.OverrideLimit && at.late || waits && (s.OverrideLimit || s.OverrideBusy)) {
			rules = append(rules, traffic.Rule("who has a link keeps it", kernel.Jump{Chain: b.only(v, s)}))
		}
	}
	if waits {
		return append(rules, traffic.Rule(at.name+": all links are busy", b.Count("group/"+tries[0].word+"/busy")))
	}
	rules = append(rules, limits...)
	for i, v := range tries {
		tell := at.name + ": link group " + v.Name
		if i > 0 {
			tell = at.name + ": then link group " + v.Name
		}
		rules = append(rules, traffic.Rule(tell, kernel.Jump{Chain: b.group(v, s)}))
	}
	if a.OnFailure != config.FailureContinue {
		rules = append(rules, traffic.Rule(at.name+": no link was found", b.Count("dropped/"+traffic.Word(at.server.Name)), kernel.Drop{}))
	}
	return rules
}

// tries gives the groups of an action in the order in which they are tried: the
// backup first while only the other one is not available. One that is below
// its thresholds is better than none.
func (b *builder) tries(a *config.PolicyAction, at site) (list []*Variant) {
	names := []string{a.LinkGroup, a.Backup}
	if b.facts.Unavailable[a.LinkGroup] && a.Backup != "" && !b.facts.Unavailable[a.Backup] {
		names = []string{a.Backup, a.LinkGroup}
	}
	for _, name := range names {
		if g := b.plan.groups[name]; g != nil {
			list = append(list, b.plan.variant(g, at.server.BusyProtection, nil))
		}
	}
	return list
}

// overrides says whether some action of a virtual server with limits has a
// persistence that overrides them (FAQ 1.2.8).
func (p *Plan) overrides(v *config.OutboundVirtualServer) bool {
	if !limited(v) {
		return false
	}
	policy := p.policies[v.Policy]
	fallback := v.Default(policy)
	actions := []*config.PolicyAction{&fallback}
	if policy != nil {
		for _, r := range policy.Rules {
			actions = append(actions, &r.Action)
		}
	}
	for _, a := range actions {
		if s := p.keeps[a.Persistence]; s != nil && s.OverrideLimit {
			return true
		}
	}
	return false
}
