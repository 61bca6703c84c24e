package traffic

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// Condition is what a packet must be like: [Never], [Always], a [Test], all of
// several ([All]) or any of them ([Some]). Conditions do not change.
type Condition interface{ condition() }

// constant is a condition that depends on no packet.
type constant bool

// Conditions that depend on no packet.
const (
	Never  constant = false
	Always constant = true
)

// Test is what one rule can ask: steps that all go on.
type Test []kernel.Step

type (
	allOf []Condition // none of them constant, nor an allOf
	anyOf []Condition // none of them constant, nor an anyOf
)

func (constant) condition() {}
func (Test) condition()     {}
func (allOf) condition()    {}
func (anyOf) condition()    {}

// All joins conditions that must all hold; none: always.
func All(list ...Condition) Condition {
	var out allOf
	for _, c := range list {
		switch c := c.(type) {
		case constant:
			if !c {
				return Never
			}
		case allOf:
			out = append(out, c...)
		default:
			out = append(out, c)
		}
	}
	switch len(out) {
	case 0:
		return Always
	case 1:
		return out[0]
	}
	return out
}

// Some joins conditions of which one must hold; none: never.
func Some(list ...Condition) Condition {
	var out anyOf
	for _, c := range list {
		switch c := c.(type) {
		case constant:
			if c {
				return Always
			}
		case anyOf:
			out = append(out, c...)
		default:
			out = append(out, c)
		}
	}
	switch len(out) {
	case 0:
		return Never
	case 1:
		return out[0]
	}
	return out
}

// Inside asks whether an address is in one of the ranges of a family, which
// neither overlap nor touch: see [RangesOf]. set is the name of the set that
// holds them, if one is needed.
func (b *Builder) Inside(of kernel.Field, set string, f Family, list []config.AddressRange) Condition {
	switch {
	case len(list) == 0:
		return Never
	case whole(f, list):
		return Always
	}
	return Test{kernel.In{Key: of, Set: b.Ranges(set, f, list)}}
}

// Within asks whether an address is in one of the prefixes of its family; of no
// prefixes at all it is always. set is as in [Builder.Inside].
func (b *Builder) Within(of kernel.Field, set string, f Family, prefixes []netip.Prefix) Condition {
	if len(prefixes) == 0 {
		return Always
	}
	return b.Inside(of, set, f, RangesOf(f, prefixes...))
}

// When writes the rules that go to a chain where a condition holds. Where
// several alternatives must hold at once, each but the last leads to a chain
// that asks for the next, so that there are as many rules as tests, and not as
// many as combinations. Chains that are needed have name as the beginning of
// theirs; tell is for the operator.
func (b *Builder) When(c Condition, name, tell string, to kernel.Goto) []kernel.Rule {
	w := &ways{Builder: b, name: name, tell: tell}
	return w.rules(nil, c, to)
}

type ways struct {
	*Builder
	name, tell string
	chains     int
}

func (w *ways) rules(before Test, c Condition, to kernel.Goto) (rules []kernel.Rule) {
	add := func(t Test) {
		rules = append(rules, Rule(w.tell, append(slices.Concat(before, t), to)...))
	}
	switch c := c.(type) {
	case constant:
		if c {
			add(nil)
		}
	case Test:
		add(c)
	case anyOf:
		for _, one := range c {
			rules = append(rules, w.rules(before, one, to)...)
		}
	case allOf:
		tests := slices.Clone(before)
		var choices []Condition
		for _, one := range c {
			if t, ok := one.(Test); ok {
				tests = append(tests, t...)
			} else {
				choices = append(choices, one)
			}
		}
		if len(choices) == 0 {
			return append(rules, Rule(w.tell, append(tests, to)...))
		}
		if rest := choices[1:]; len(rest) > 0 {
			w.chains++
			next := fmt.Sprintf("%s_%d", w.name, w.chains)
			to = kernel.Goto{Chain: w.Chain(next, func() []kernel.Rule { return w.rules(nil, All(rest...), to) })}
		}
		rules = append(rules, w.rules(tests, choices[0], to)...)
	}
	return rules
}

// JumpWhen writes rules that jump to a chain where a condition holds, which may
// differ by family: what the chain does not decide goes on after them. Names are
// as in [Builder.When].
func (b *Builder) JumpWhen(c func(f Family) Condition, name, tell, to string) (rules []kernel.Rule) {
	f := Families()
	four, six := c(f[0]), c(f[1])
	if reflect.DeepEqual(four, six) {
		return b.jump(b.When(four, name, tell, kernel.Goto{Chain: to}), name)
	}
	for i, c := range []Condition{four, six} {
		at := name + f[i].Digit
		rules = append(rules, b.jump(b.WhenOf(f[i], c, at, tell, kernel.Goto{Chain: to}), at)...)
	}
	return rules
}

// WhenOf is [Builder.When] for packets of one family alone.
func (b *Builder) WhenOf(f Family, c Condition, name, tell string, to kernel.Goto) []kernel.Rule {
	made := b.When(c, name, tell, to)
	for i := range made {
		if !asksFamily(made[i].Do) {
			made[i].Do = append([]kernel.Step{f.Only()}, made[i].Do...)
		}
	}
	return made
}

// jump has the ways to one chain come back: one rule does it itself; of several
// only one may lead there, so they stand in a chain of their own.
func (b *Builder) jump(rules []kernel.Rule, name string) []kernel.Rule {
	if len(rules) == 0 {
		return nil
	}
	to := rules[0]
	if len(rules) > 1 {
		b.Chain(name, func() []kernel.Rule { return rules })
		return []kernel.Rule{Rule(to.Tell, kernel.Jump{Chain: name})}
	}
	last := len(to.Do) - 1
	to.Do[last] = kernel.Jump(to.Do[last].(kernel.Goto))
	return []kernel.Rule{to}
}

// asksFamily says whether a rule asks for something that only packets of one
// family have.
func asksFamily(steps []kernel.Step) bool {
	return slices.ContainsFunc(steps, func(s kernel.Step) bool {
		in, ok := s.(kernel.In)
		if !ok {
			return false
		}
		switch in.Key {
		case kernel.Source4, kernel.Dest4, kernel.Source6, kernel.Dest6:
			return true
		}
		return false
	})
}
