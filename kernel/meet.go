package kernel

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Passing is a packet of which some things are known: what is left out may be
// anything.
type Passing struct {
	IPv6              bool
	In, Out           string // interfaces; "": there is none at this hook
	InIndex, OutIndex int
	Protocol          uint8 // IANA's number
	DestPort          uint16
	Source, Dest      netip.Addr
	New               bool // the first of a connection; else one of an established one
}

// What a rule of somebody else may do to a packet beside letting it pass or not.
const (
	DeedMark    = "writes the packet mark"
	DeedConn    = "writes the conntrack mark"
	DeedNAT     = "rewrites the source to an address"
	DeedMasq    = "masquerades"
	DeedDest    = "rewrites the destination"
	DeedOffload = "offloads the connection"
	DeedUntrack = "takes it from connection tracking"
	DeedQueue   = "gives it to a program"
	DeedTProxy  = "gives it to a socket of this host"
)

// Deed is what one rule may do to a packet that comes to it.
type Deed struct {
	What     string
	Bits     uint32 // of a mark: those that may change
	Chain    string // as nft takes it: "ip nat POSTROUTING"
	Handle   uint64
	Priority int32 // of the hook by which the packet came
	Program  string
}

// Meeting is what becomes of a packet in the chains of others at one hook.
type Meeting struct {
	Passes  bool   // it may get through, as far as can be told
	Stopped string // the rule or policy that stops it, if one may
	Chain   string // the chain with that hook, and
	Policy  bool   // whether it is its policy that stops it
	Program string // who made it, if it is known by its names
	Deeds   []Deed
}

// Meet tells what the chains of others do to a packet at a hook (prerouting,
// input, forward, output, postrouting), of its family, but for those of bridges
// and devices. What it cannot tell may be either way: a packet that does not
// pass does so for sure, and a deed that is told is one that may come to pass.
func (r *Ruleset) Meet(hook string, p Passing) Meeting {
	m := Meeting{Passes: true}
	w := &meeting{rules: r, packet: p, known: map[*foreignChain]*fate{}, at: &m}
	family := byte(unix.NFPROTO_IPV4)
	if p.IPv6 {
		family = unix.NFPROTO_IPV6
	}
	for _, c := range r.base {
		if c.family != family && c.family != familyInet || c.point != hookPoints[hook] || c.ours() || c.kind == "nat" && !p.New {
			continue
		}
		w.priority = c.priority
		f := w.chain(c)
		if f.falls && c.drops {
			f.drops = "the policy of chain " + c.String()
		}
		passes := f.accepts || f.falls && !c.drops
		if f.drops != "" && (m.Stopped == "" || m.Passes && !passes) {
			m.Stopped, m.Chain, m.Policy, m.Program = f.drops, c.String(), f.falls && c.drops, r.programOf(c.tableKey)
		}
		m.Passes = m.Passes && passes
	}
	return m
}

// programOf says which well-known program made a table or a part of it.
func (r *Ruleset) programOf(t tableKey) string {
	var all []string
	for key := range r.chains {
		if p := programOf(key); key.tableKey == t && p != "" {
			all = append(all, p)
		}
	}
	if slices.Sort(all); len(all) > 0 {
		return all[0]
	}
	return ""
}

// fate is what may become of a packet in a chain: several may.
type fate struct {
	accepts, falls bool
	drops          string // the rule that does it; "": none does
}

// meeting follows one packet.
type meeting struct {
	rules    *Ruleset
	packet   Passing
	known    map[*foreignChain]*fate // of chains that were gone through: each is only once
	at       *Meeting
	priority int32
}

// chain gives what may become of the packet in a chain.
func (w *meeting) chain(c *foreignChain) fate {
	if c == nil {
		return fate{accepts: true, falls: true} // it came after we read the chains
	}
	if f := w.known[c]; f != nil {
		return *f
	}
	f := &fate{falls: true}
	w.known[c] = f // Linux has no loops
	var now fate
	for i := range c.rules {
		if w.rule(c, &c.rules[i], &now) {
			*f = now
			return now
		}
	}
	now.falls = true
	*f = now
	return now
}

// rule adds what may become of the packet by a rule, and says whether it ends
// there for sure.
func (w *meeting) rule(c *foreignChain, r *foreignRule, f *fate) (ends bool) {
	s := &sight{w: w, chain: c, handle: r.handle, sure: true}
	for i := range r.does {
		e := &r.does[i]
		switch s.step(e) {
		case never:
			return false
		case maybe:
			s.sure = false
		}
		for _, v := range s.verdicts(e) {
			if ends := w.verdict(c, r, v, f); ends && s.sure && !v.maybe {
				return true
			}
		}
	}
	return false
}

// judged is a verdict that a rule may come to.
type judged struct {
	code  int32
	chain string
	maybe bool
}

// verdict adds what a verdict leads to, and says whether the chain ends with it.
func (w *meeting) verdict(c *foreignChain, r *foreignRule, v judged, f *fate) (ends bool) {
	add := func(o fate) {
		f.accepts = f.accepts || o.accepts
		if f.drops == "" {
			f.drops = o.drops
		}
	}
	next := func() fate { return w.chain(w.rules.chains[chainKey{c.tableKey, v.chain}]) }
	switch v.code {
	case codeAccept:
		add(fate{accepts: true})
	case codeDrop:
		add(fate{drops: fmt.Sprintf("rule %d of chain %s", r.handle, c)})
	case codeQueue:
		add(fate{accepts: true})
	case codeReturn:
		f.falls = true
	case unix.NFT_JUMP:
		sub := next()
		add(sub)
		return !sub.falls
	case unix.NFT_GOTO:
		sub := next()
		add(sub)
		f.falls = f.falls || sub.falls
	default:
		return false
	}
	return true
}

// done notes a deed, once.
func (s *sight) done(what string, bits uint32) {
	d := Deed{What: what, Bits: bits, Chain: s.chain.String(), Handle: s.handle, Priority: s.w.priority, Program: s.w.rules.programOf(s.chain.tableKey)}
	if !slices.Contains(s.w.at.Deeds, d) {
		s.w.at.Deeds = append(s.w.at.Deeds, d)
	}
}

// verdicts gives the verdicts of an expression.
func (s *sight) verdicts(e *expression) (list []judged) {
	switch {
	case e.name == "immediate" && e.verdict:
		return []judged{{code: e.code, chain: e.chain}}
	case e.name == "lookup" && e.verdict:
		return s.mapped(e)
	case e.name == "reject":
		return []judged{{code: codeDrop}}
	case e.name == "queue":
		return []judged{{code: codeQueue}}
	case e.name == "nat", e.name == "masq", e.name == "redir":
		return []judged{{code: codeAccept}}
	case e.name != "target":
		return nil
	}
	switch e.target {
	case "REJECT", "DROP":
		return []judged{{code: codeDrop}}
	case "SNAT", "DNAT", "MASQUERADE", "REDIRECT", "NETMAP", "NFQUEUE", "ACCEPT":
		return []judged{{code: codeAccept}}
	case "TPROXY":
		return []judged{{code: codeAccept, maybe: true}, {code: codeDrop, maybe: true}}
	}
	return nil
}

// mapped gives the verdicts that a map may hold for what is known.
func (s *sight) mapped(e *expression) (list []judged) {
	set := s.w.rules.sets[setKey{s.chain.tableKey, e.set}]
	if set == nil || !set.read {
		return []judged{{code: codeAccept, maybe: true}, {code: codeDrop, maybe: true}}
	}
	key, known := s.regs.read(e.from, set.width)
	for _, el := range set.list {
		if known && !el.has(key) {
			continue
		}
		v := judged{maybe: !known}
		switch step := el.Verdict.(type) {
		case Accept:
			v.code = codeAccept
		case Drop:
			v.code = codeDrop
		case Jump:
			v.code, v.chain = unix.NFT_JUMP, step.Chain
		case Goto:
			v.code, v.chain = unix.NFT_GOTO, step.Chain
		case Return:
			v.code = codeReturn
		}
		list = append(list, v)
	}
	return list
}
