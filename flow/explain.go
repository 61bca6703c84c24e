package flow

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/kernel"
)

// Explanation tells what becomes of a connection.
type Explanation struct {
	Question Question  `json:"question"`
	Session  *Session  `json:"session,omitempty"`  // conntrack has it: the packet is not the first one
	Findings []Finding `json:"findings"`           // what decided, in order
	Groups   []Group   `json:"groups,omitempty"`   // the link groups and server farms that it came to
	Ways     []Way     `json:"ways"`               // the likeliest first
	Counters []Counter `json:"counters,omitempty"` // where such connections are counted
	Rules    []Rule    `json:"rules"`              // every rule that the likeliest way came to
	Notes    []string  `json:"notes,omitempty"`    // what was taken for granted
}

// Session is an entry of conntrack.
type Session struct {
	Link   string         `json:"link,omitempty"` // that it is bound to
	Mark   uint32         `json:"mark"`
	State  string         `json:"state,omitempty"` // of TCP
	Source netip.AddrPort `json:"source"`          // which the other side sees
	Left   time.Duration  `json:"left"`            // until it ends if nothing comes

	Inbound bool `json:"inbound,omitempty"` // it came in by a link
	Placed  bool `json:"placed,omitempty"`  // by persistence
	Child   bool `json:"child,omitempty"`   // of another session, whose link it has

	VirtualServer string         `json:"virtualServer,omitempty"`
	Farm          string         `json:"farm,omitempty"`
	Server        string         `json:"server,omitempty"` // in the farm
	At            netip.AddrPort `json:"at,omitzero"`      // where it is answered from, if not from where it was sent to
}

// Finding is one thing that was looked at.
type Finding struct {
	Hook string `json:"hook"`
	Role
	Hit  bool   `json:"hit"`
	Text string `json:"text"`          // the rule in one sentence, or what was looked up
	Why  string `json:"why,omitempty"` // it is no hit; or what was found
}

// Way is one way that the connection may take.
type Way struct {
	Percent float64 `json:"percent"` // of such connections
	Link    string  `json:"link,omitempty"`
	Mark    uint32  `json:"mark"` // of the connection

	VirtualServer string         `json:"virtualServer,omitempty"`
	Farm          string         `json:"farm,omitempty"`
	Server        string         `json:"server,omitempty"` // in the farm; empty: none took it
	To            netip.AddrPort `json:"to,omitzero"`      // the destination that it is given, if it is another; port 0: the protocol has none
	Copies        []netip.Addr   `json:"copies,omitempty"` // who gets its packets as they are, by their Ethernet addresses

	End string `json:"end"` // passed, dropped or refused
	By  string `json:"by,omitempty"`

	Socket    uint16     `json:"socket,omitempty"` // the port of the transparent socket that takes it
	Source    string     `json:"source"`           // the address that the other side sees
	NAT       string     `json:"nat,omitempty"`
	Route     string     `json:"route,omitempty"` // in words
	Table     int        `json:"table,omitempty"`
	Via       netip.Addr `json:"via,omitzero"`
	Interface string     `json:"interface,omitempty"`

	Bounds []Bound `json:"bounds,omitempty"` // limits that were taken as not reached
}

// Bound is the limits of one link, virtual server or server that a way came to.
type Bound struct {
	Of     string   `json:"of"` // whose
	Limits []string `json:"limits"`
	IfOver []Share  `json:"ifOver,omitempty"` // where such connections go if one of them is reached
}

// Share is a part of such connections.
type Share struct {
	Percent float64 `json:"percent"`
	Link    string  `json:"link,omitempty"`   // empty: by the machine's own routes, or Server or End tell
	Server  string  `json:"server,omitempty"` // FARM/NAME
	End     string  `json:"end"`
}

// Rule is a rule that the packet came to.
type Rule struct {
	Hook  string   `json:"hook"`
	Table string   `json:"table"`
	Chain string   `json:"chain"`
	Rule  int      `json:"rule"` // its number in the chain, from 0
	Tell  string   `json:"tell,omitempty"`
	Looks []string `json:"looks,omitempty"`
	Why   string   `json:"why,omitempty"` // it ended before its last step
	Then  string   `json:"then,omitempty"`
}

// Explain tells what becomes of a connection in a world. Session is what
// conntrack has of it, nil for nothing. It errs if the rules make no sense, or a
// set cannot be read.
func Explain(w *kernel.World, q Question, session *kernel.Session, names ...Names) (*Explanation, error) {
	x := &explaining{world: w, names: names, to: &Explanation{Question: q}, known: session, bounds: map[string][]Share{}}
	p := q.Packet()
	if session != nil {
		x.session(&p, session)
	}
	ways, err := w.Journey(p)
	if err != nil {
		return nil, err
	}
	for i := range ways {
		x.findings(&ways[i])
		way, err := x.way(p, &ways[i])
		if err != nil {
			return nil, err
		}
		x.to.Ways = append(x.to.Ways, way)
		x.count(&ways[i])
	}
	x.to.Ways = merge(x.to.Ways)
	x.rules(&ways[0])
	return x.to, nil
}

type explaining struct {
	world *kernel.World
	names owners
	to    *Explanation
	known *kernel.Session

	bounds map[string][]Share // by whose limits they are: where connections go then
}

// session makes the packet a further one of a session.
func (x *explaining) session(p *kernel.Packet, s *kernel.Session) {
	p.Ct = kernel.CtInfo{State: kernel.CtEstablished, Mark: s.Mark, Label: s.Label, Status: s.Status}
	p.Ct.Reply = s.Reply.Source == x.to.Question.From && s.Reply.Destination == x.to.Question.To
	if s.Status&kernel.StatusSeenReply == 0 && !p.Ct.Reply { // as the kernel has it
		p.Ct.State = kernel.CtNew
		if s.Child {
			p.Ct.State = kernel.CtRelated
		}
	}
	if p.TCPFlags != 0 {
		p.TCPFlags = 16 // ACK
	}
	source := s.Reply.Destination
	if p.Ct.Reply {
		source = s.Original.Destination
	}
	x.to.Session = &Session{
		Link: x.names.link(s.Mark & kernel.LinkMask), Mark: s.Mark, State: s.State,
		Source: source, Left: s.Timeout,
		Inbound: s.Mark&kernel.Inbound != 0, Placed: s.Mark&kernel.Placed != 0, Child: s.Child,
	}
	if s.Reply.Source != s.Original.Destination {
		p.Ct.To, x.to.Session.At = s.Reply.Source, s.Reply.Source
	}
	if served := x.names.session(s); served != nil {
		x.to.Session.VirtualServer, x.to.Session.Farm, x.to.Session.Server = served.VirtualServer, served.Farm, served.Server
	}
}

// count notes what counts connections that go a way.
func (x *explaining) count(w *kernel.Way) {
	for _, c := range x.names.counters(w) {
		if !slices.ContainsFunc(x.to.Counters, func(o Counter) bool { return o.Kind == c.Kind && o.Name == c.Name && o.What == c.What }) {
			x.to.Counters = append(x.to.Counters, c)
		}
	}
}

// findings notes what a way looked at that no way before it did.
func (x *explaining) findings(way *kernel.Way) {
	for _, h := range way.Hooks {
		for i := range h.Visits {
			v := &h.Visits[i]
			if found, is := x.names.visit(x.to.Question, v); is {
				for _, f := range found {
					f.Hook = h.Point
					x.add(f)
					if f.Kind == ServerFarm {
						x.group(f.Kind, f.Name)
					}
				}
				continue
			}
			role := x.names.chain(v.Table, v.Chain)
			for _, l := range v.Looks {
				if f, ok := x.look(v.Table, l); ok {
					f.Hook = h.Point
					x.add(f)
				}
			}
			asks := role.Kind == Policy && slices.ContainsFunc(h.Visits[i+1:], func(o kernel.Visit) bool { return o.Tell == v.Tell && o.Depth > v.Depth })
			if f := (Finding{h.Point, role, v.Why == "", v.Tell, v.Why}); tellsMuch(f, v) && !asks { // what is asked by several rules is told by those
				x.add(f)
			}
			if role.Kind == LinkGroup {
				x.group(role.Kind, role.Name)
			}
		}
	}
}

// tellsMuch leaves out what every packet meets, and what only one way does.
func tellsMuch(f Finding, v *kernel.Visit) bool {
	switch {
	case v.Tell == "" || f.Kind == Link || f.Hook == "postrouting":
		return false
	case f.Kind == Persistence: // its entry was told; what is left is that it goes
		return slices.ContainsFunc(v.Did, func(s kernel.Step) bool { c, is := s.(kernel.Change); return is && c.How == kernel.Remove })
	case f.Hit:
		return v.Then != nil || len(v.Did) > 0
	case f.Kind == VirtualServer: // chains of theirs hold other things, too
		return strings.HasPrefix(f.Text, "virtual server")
	}
	return f.Kind == Policy
}

// add leaves out what was told before, and the second look at an entry, which
// finds what this very packet has just written.
func (x *explaining) add(f Finding) {
	looked := f.Kind == Persistence || f.Kind == Proximity
	if !slices.ContainsFunc(x.to.Findings, func(o Finding) bool {
		return o.Hook == f.Hook && o.Text == f.Text && (looked && o.Role == f.Role || !looked && o.Hit == f.Hit)
	}) {
		x.to.Findings = append(x.to.Findings, f)
	}
}

func (x *explaining) group(kind, name string) {
	if slices.ContainsFunc(x.to.Groups, func(g Group) bool { return g.Name == name && (g.Kind == ServerFarm) == (kind == ServerFarm) }) {
		return
	}
	if g := x.names.group(kind, name); g != nil {
		x.to.Groups = append(x.to.Groups, *g)
	}
}

// merge makes one of ways that differ in nothing that is told.
func merge(ways []Way) (all []Way) {
	for _, way := range ways {
		i := slices.IndexFunc(all, func(o Way) bool {
			return o.Link == way.Link && o.Mark == way.Mark && o.End == way.End && o.Source == way.Source && o.Route == way.Route && o.By == way.By &&
				o.Farm == way.Farm && o.Server == way.Server && o.To == way.To && slices.Equal(o.Copies, way.Copies)
		})
		if i < 0 {
			all = append(all, way)
			continue
		}
		all[i].Percent += way.Percent
	}
	return all
}

// rules lists every rule that a way came to.
func (x *explaining) rules(way *kernel.Way) {
	for _, h := range way.Hooks {
		for _, v := range h.Visits {
			r := Rule{Hook: h.Point, Table: v.Table, Chain: v.Chain, Rule: v.Rule, Tell: v.Tell, Why: v.Why}
			if v.Then != nil {
				r.Then = kernel.Tell(v.Then)
			}
			for _, l := range v.Looks {
				r.Looks = append(r.Looks, l.String())
			}
			x.to.Rules = append(x.to.Rules, r)
		}
	}
}
