package config

// Policy is an ordered list of rules. The first whose class matches has the
// connection (FAQ 1.2.11), unless it finds no link for it and its action says
// to go on (FAQ 1.2.10).
type Policy struct {
	Name    string        `yaml:"name" json:"name"`
	Rules   []*PolicyRule `yaml:"rules" json:"rules,omitempty"`
	Default *PolicyAction `yaml:"default" json:"default,omitempty"` // of what no rule took (default the link group of the virtual server, or drop if it has none)
	Pos     Pos           `yaml:"-" json:"-"`
}

// PolicyRule is one rule of a policy.
type PolicyRule struct {
	Class  string       `yaml:"class" json:"class,omitempty"` // what it is for (default everything)
	Action PolicyAction `yaml:"action" json:"action"`         // what becomes of it
	Pos    Pos          `yaml:"-" json:"-"`
}

// PolicyAction is what becomes of a connection: it goes to a link group, by
// the routing table, or nowhere. Exactly one of do and linkGroup is given; in
// YAML it is also a bare word of do.
type PolicyAction struct {
	Do          ActionWord  `yaml:"do" json:"do,omitempty" words:"policyAction"`                // instead of a link group
	LinkGroup   string      `yaml:"linkGroup" json:"linkGroup,omitempty"`                       // one of its links takes the connection
	Backup      string      `yaml:"backup" json:"backup,omitempty"`                             // the link group while linkGroup is not available
	Persistence string      `yaml:"persistence" json:"persistence,omitempty"`                   // which clients keep the link that they have
	OnFailure   FailureWord `yaml:"onFailure" json:"onFailure,omitempty" words:"actionFailure"` // when no link is found: all are down, held or at a limit (default drop)
	OnBusy      BusyWord    `yaml:"onBusy" json:"onBusy,omitempty" words:"actionBusy"`          // when all links that could take it are busy, with busy protection (default lapse)
	TOS         *TOS        `yaml:"tos" json:"tos,omitempty"`                                   // set in what the connection sends out
	Pos         Pos         `yaml:"-" json:"-"`
}

// ActionWord is an action without a link group.
type ActionWord string

// The actions without a link group.
const (
	ActionForward ActionWord = "forward" // by the routing table, as if there were no virtual server
	ActionDrop    ActionWord = "drop"    // it is dropped
)

// FailureWord says what becomes of a connection that no link is found for.
type FailureWord string

// What becomes of a connection that no link is found for (FAQ 1.2.10).
const (
	FailureDrop     FailureWord = "drop"     // it is dropped
	FailureContinue FailureWord = "continue" // the next rule of the policy has its turn
)

// BusyWord says what becomes of a connection that only busy links could take.
type BusyWord string

// What becomes of a connection that only busy links could take (FAQ 1.2.26).
const (
	BusyLapse    BusyWord = "lapse"    // protection lapses: one of them takes it
	BusyContinue BusyWord = "continue" // the next rule of the policy has its turn
)

func (a *PolicyAction) defaults() { *a = PolicyAction{OnFailure: FailureDrop, OnBusy: BusyLapse} }

func (a *PolicyAction) decodeShort(d *decoder, p *place) {
	if word, _, _ := scalarText(p.node); d.word(p, word, "policyAction") {
		a.Do = ActionWord(word)
	}
}

// maxPolicyRules bounds the rules of a policy: the kernel tries them one after
// another.
const maxPolicyRules = 1000

func (p *Policy) check(c *checker) {
	c.empty(&p.Rules, len(p.Rules))
	if !c.given(&p.Rules) && p.Default == nil {
		c.bad(p, "has neither rules nor default: it says nothing")
	}
	if !c.gateway.usedBy["policy "+p.Name] {
		c.warn(&p.Name, "no virtual server uses it")
	}
	if len(p.Rules) > maxPolicyRules {
		c.bad(&p.Rules, "%d rules are more than %d", len(p.Rules), maxPolicyRules)
		return
	}
	everything := p.checkRules(c)
	c.of(p)
	if d := p.Default; d != nil {
		d.check(c)
		if everything > 0 {
			c.bad(d, "is never reached: rule %d has no class and takes everything", everything)
		}
		const text = "there is no rule after the default to continue with"
		if d.OnFailure == FailureContinue {
			c.bad(&d.OnFailure, text)
		}
		if d.OnBusy == BusyContinue {
			c.bad(&d.OnBusy, text)
		}
	}
}

// checkRules checks the rules and gives the number of the one that takes
// everything, or 0.
func (p *Policy) checkRules(c *checker) (everything int) {
	taken := map[string]int{}
	for i, r := range p.Rules {
		c.of(r)
		sound := c.sound(func() { r.check(c) })
		at := taken[r.Class]
		switch {
		case everything > 0:
			c.bad(r, "is never reached: rule %d has no class and takes everything", everything)
		case at > 0:
			c.bad(r, "is never reached: rule %d takes class %q already", at, r.Class)
		case r.Action.goesOn() || !sound || r.Action.Do == "" && r.Action.LinkGroup == "":
		case !c.given(&r.Class):
			everything = i + 1
		default:
			taken[r.Class] = i + 1
		}
	}
	return everything
}

func (r *PolicyRule) check(c *checker) {
	if c.given(&r.Class) {
		c.refer("class", &r.Class)
	}
	if c.need(&r.Action, "action") {
		r.Action.check(c)
	}
}

// goesOn says whether the next rule may have a turn after the action.
func (a *PolicyAction) goesOn() bool {
	return a.OnFailure == FailureContinue || a.OnBusy == BusyContinue
}

func (a *PolicyAction) check(c *checker) {
	if c.broken && a.Do == "" && a.LinkGroup == "" || c.places[a] != nil && c.places[a].bad {
		return
	}
	c.oneOf(a, []bool{c.given(&a.Do) || a.Do != "", c.given(&a.LinkGroup)}, "do, linkGroup")
	if c.given(&a.LinkGroup) {
		c.refer("link group", &a.LinkGroup)
	}
	if c.given(&a.Backup) {
		c.refer("link group", &a.Backup)
	}
	if c.given(&a.Persistence) && c.refer("persistence", &a.Persistence) {
		c.keepsLink(&a.Persistence)
	}
	if a.LinkGroup != "" && a.LinkGroup == a.Backup {
		c.bad(&a.Backup, "%q is the link group itself", a.Backup)
	}
	if a.Do != "" {
		for _, field := range []any{&a.Backup, &a.Persistence, &a.OnFailure, &a.OnBusy} {
			if c.given(field) {
				c.bad(field, "belongs to a linkGroup, not to %s", a.Do)
			}
		}
		a.OnFailure, a.OnBusy = "", ""
	}
	if a.Do == ActionDrop && a.TOS != nil {
		c.bad(a.TOS, "nothing is sent that it could be set in")
	}
	g := c.gateway.groups[a.LinkGroup]
	if a.OnBusy == BusyContinue && g != nil && !g.BusyProtection && !c.gateway.protected[g.Name] {
		c.warn(&a.OnBusy, "has no effect: link group %q has no busyProtection, nor has a virtual server that uses it", g.Name)
	}
}
