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
	Do          ActionWord  `yaml:"do" json:"do,omitempty" words:"policyAction"`      // instead of a link group
	LinkGroup   string      `yaml:"linkGroup" json:"linkGroup,omitempty"`             // one of its links takes the connection
	Backup      string      `yaml:"backup" json:"backup,omitempty"`                   // the link group while linkGroup is not available
	Persistence string      `yaml:"persistence" json:"persistence,omitempty"`         // which clients keep the link that they have
	OnFailure   FailureWord `yaml:"onFailure" json:"onFailure" words:"actionFailure"` // when no link is found: all are down, held or at a limit (default drop)
	OnBusy      BusyWord    `yaml:"onBusy" json:"onBusy" words:"actionBusy"`          // when all links that could take it are busy, with busy protection (default lapse)
	TOS         *TOS        `yaml:"tos" json:"tos,omitempty"`                         // set in what the connection sends out
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
