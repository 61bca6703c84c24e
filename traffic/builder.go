package traffic

import (
	"slices"
	"unicode/utf8"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
)

// Builder writes one table. It is for one goroutine, and for one table: each
// wish has a new one, with the [Fixed] of the wish before.
type Builder struct {
	table kernel.Table
	fixed *Fixed
	roles *Roles
	role  flow.Role       // of the chain that is being written
	have  map[string]bool // chains, sets and helpers that are written, or being written
}

// NewBuilder begins a table. What fixed holds is shared with it, and what no set
// of it has any more goes from fixed with [Builder.Done].
func NewBuilder(table string, fixed *Fixed) *Builder {
	return &Builder{table: kernel.Table{Name: table}, fixed: fixed, have: map[string]bool{},
		roles: &Roles{chains: map[string]flow.Role{}, sets: map[string]flow.Role{}}}
}

// Done gives the table, and what its chains and sets are for. The builder must
// not be used afterwards.
func (b *Builder) Done() (kernel.Table, *Roles) {
	slices.Sort(b.table.Counters)
	b.table.Counters = slices.Compact(b.table.Counters)
	for name := range b.fixed.sets {
		if !b.have["set "+name] {
			delete(b.fixed.sets, name)
		}
	}
	return b.table, b.roles
}

// Roles says what the chains and sets of a table are for. It does not change,
// and may be read by any goroutine.
type Roles struct{ chains, sets map[string]flow.Role }

// Chain gives the role of a chain; the zero Role: there is nothing to tell.
func (r *Roles) Chain(name string) flow.Role { return r.chains[name] }

// Set gives the role of a set; the zero Role: there is nothing to tell.
func (r *Roles) Set(name string) flow.Role { return r.sets[name] }

// Rule is a rule with a sentence for the operator, which is cut where nftables
// takes no more of it as a comment.
func Rule(tell string, do ...kernel.Step) kernel.Rule {
	const most = 120 // with something to spare
	for len(tell) > most {
		_, size := utf8.DecodeLastRuneInString(tell)
		tell = tell[:len(tell)-size]
	}
	return kernel.Rule{Tell: tell, Do: do}
}

// Chain writes a chain once and gives its name. Chains that are jumped to come
// before the rules that are made meanwhile. It is for what the chain is for in
// which it is made first.
func (b *Builder) Chain(name string, rules func() []kernel.Rule) string {
	return b.ChainFor(b.role.Kind, b.role.Name, name, rules)
}

// ChainFor is [Builder.Chain] for one with a role of its own.
func (b *Builder) ChainFor(kind, of, name string, rules func() []kernel.Rule) string {
	if b.have["chain "+name] {
		return name
	}
	around := b.role
	b.role = flow.Role{Kind: kind, Name: of}
	b.have["chain "+name], b.roles.chains[name] = true, b.role
	at := len(b.table.Chains)
	b.table.Chains = append(b.table.Chains, kernel.Chain{Name: name})
	made := rules()
	b.table.Chains[at].Rules = made
	b.role = around
	return name
}

// Base writes a chain that the kernel enters.
func (b *Builder) Base(name string, hook kernel.Hook, rules func() []kernel.Rule) {
	b.Chain(name, rules)
	i := slices.IndexFunc(b.table.Chains, func(c kernel.Chain) bool { return c.Name == name })
	b.table.Chains[i].Hook = &hook
}

// Set writes a set once and gives its name. Its elements are the caller's, who
// may change them while the table is in use.
func (b *Builder) Set(s kernel.Set) string {
	if !b.have["set "+s.Name] {
		b.have["set "+s.Name] = true
		b.table.Sets = append(b.table.Sets, s)
	}
	return s.Name
}

// SetFor is [Builder.Set] for one with a role.
func (b *Builder) SetFor(kind, of string, s kernel.Set) string {
	b.roles.sets[s.Name] = flow.Role{Kind: kind, Name: of}
	return b.Set(s)
}

// Count counts by a named counter, which lives as long as it has a name.
func (b *Builder) Count(name string) kernel.Step {
	b.table.Counters = append(b.table.Counters, name)
	return kernel.Count{Name: name}
}

// HelperProtocols gives the protocols over which a helper's protocol is spoken,
// by their numbers, and the port where its servers are found.
func HelperProtocols(h config.Helper) (protocols []uint8, port uint16) {
	const tcp, udp = 6, 17
	switch h {
	case config.HelperFTP:
		return []uint8{tcp}, 21
	case config.HelperSIP:
		return []uint8{udp, tcp}, 5060
	case config.HelperTFTP:
		return []uint8{udp}, 69
	}
	return nil, 0
}

// Assist gives a connection of a protocol the helper of the kernel that finds
// the further connections it opens, so that they follow it (FAQ 1.2.24). The
// protocol is one of [HelperProtocols].
func (b *Builder) Assist(h config.Helper, protocol uint8) kernel.Step {
	name := string(h)
	if protocols, _ := HelperProtocols(h); slices.Index(protocols, protocol) > 0 {
		name += "_tcp" // of SIP, which is spoken over both
	}
	if !b.have["helper "+name] {
		b.have["helper "+name] = true
		b.table.Helpers = append(b.table.Helpers, kernel.Helper{Name: name, Kind: string(h), Protocol: protocol})
	}
	return kernel.Assist{Helper: name}
}
