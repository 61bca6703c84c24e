package l4

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// visit tells what a visit to a rule is worth telling of. Rules of policies speak
// for themselves.
func (p *Plan) visit(roles *traffic.Roles, q flow.Question, v *kernel.Visit) (found []flow.Finding, is bool) {
	switch ours, copies := p.ours(v.Table); {
	case !ours:
		return nil, false
	case copies:
		return p.tellCopy(q, v), true
	}
	switch name := v.Chain; {
	case strings.HasPrefix(name, "which"):
		return p.tellWhich(q, v), true
	case name == "draw" || name == "serve" || name == "serve_own":
		return p.tellFarm(v), true
	case strings.HasPrefix(name, "keep_"):
		return append(p.tellFarm(v), p.tellKeep(v)...), true
	case name == "nobody" || name == "refused_by_farm":
		return p.tellNobody(v), true
	case strings.HasPrefix(name, "limit_"), name == "dead", name == "shed", name == "give", name == "refuse":
		return tellEnd(v), true
	case roles.Chain(name).Kind == flow.Policy:
		return nil, false
	}
	return nil, true
}

// tellEnd tells rules that a packet ends at, or that say which rule counts it.
func tellEnd(v *kernel.Visit) []flow.Finding {
	switch v.Then.(type) {
	case kernel.Drop, kernel.Reject, kernel.Goto:
		if v.Tell != "" {
			return []flow.Finding{{Role: flow.Role{Kind: flow.VirtualServer}, Hit: true, Text: v.Tell}}
		}
	}
	return nil
}

// tellWhich tells which virtual server a packet is for, and who else would have
// taken it.
func (p *Plan) tellWhich(q flow.Question, v *kernel.Visit) []flow.Finding {
	missed := v.Tell == tellNone
	for _, l := range v.Looks {
		set := strings.TrimRight(l.Set, "46")
		switch {
		case l.Found != nil && (set == "exact" || set == "ports" || set == "protos" || set == "any"):
			return p.tellTaken(q, number32(l.Found.Data))
		case l.Found == nil && (set == "nets" || set == "exact" && p.has.nested == 0):
			missed = true
		}
	}
	if !missed || len(p.fitting(q.To.Addr(), q.Protocol, q.To.Port())) > 0 { // a chain that was left by goto comes back here
		return nil
	}
	near := p.near(q.To.Addr())
	if near == "" {
		return nil
	}
	return []flow.Finding{{Role: flow.Role{Kind: flow.VirtualServer}, Text: "virtual server",
		Why: fmt.Sprintf("%s is an address of %s, and this is %s", q.To.Addr(), near, asked(q))}}
}

// asked tells what is asked for at an address.
func asked(q flow.Question) string {
	if kernel.HasPorts(q.Protocol) {
		return fmt.Sprintf("%s port %d", kernel.ProtocolName(q.Protocol), q.To.Port())
	}
	return kernel.ProtocolName(q.Protocol)
}

func (p *Plan) tellTaken(q flow.Question, mark uint32) []flow.Finding {
	s := p.byMark[mark&kernel.ServerMask]
	if s == nil {
		return nil
	}
	role := func(s *server) flow.Role { return flow.Role{Kind: flow.VirtualServer, Name: s.Name} }
	list := p.fitting(q.To.Addr(), q.Protocol, q.To.Port())
	var won *claim
	for i := range list {
		if list[i].server == s {
			won = &list[i]
			break
		}
	}
	if won == nil { // it is for this virtual server, whatever the configuration says now
		return []flow.Finding{{Role: role(s), Hit: true, Text: "virtual server " + s.Name}}
	}
	found := []flow.Finding{{Role: role(s), Hit: true, Text: "virtual server " + s.Name, Why: won.tell()}}
	told := map[*server]bool{s: true}
	for i := range list {
		if c := &list[i]; !told[c.server] {
			told[c.server] = true
			found = append(found, flow.Finding{Role: role(c.server), Text: "virtual server " + c.Name, Why: fmt.Sprintf("%s, too, but %s goes first: %s", c.tell(), s.Name, won.before(c))})
		}
	}
	return found
}

// tellFarm tells which farm a target leads to now.
func (p *Plan) tellFarm(v *kernel.Visit) []flow.Finding {
	for _, l := range v.Looks {
		if f := p.farmOf(&l); f != nil {
			return []flow.Finding{{Role: flow.Role{Kind: flow.ServerFarm, Name: f.Name}, Hit: true, Text: "server farm " + f.Name}}
		}
		if l.Set != "farm" || l.Found == nil {
			continue
		}
		t, f := p.targetBy(number32(l.Key)), p.byNumber[farmNumber(number32(l.Found.Data))]
		if t == nil || f == nil {
			return nil
		}
		return tellLed(t.farm, f)
	}
	return nil
}

// farmOf gives the farm that a look-up of a virtual server leads to at once; nil: none.
func (p *Plan) farmOf(l *kernel.Look) *farm {
	if l.Set != ServedSet || l.Found == nil || number32(l.Found.Data)&kinds != isFarm {
		return nil
	}
	return p.byNumber[farmNumber(number32(l.Found.Data))]
}

func (p *Plan) targetBy(n uint32) *target {
	for _, t := range p.targets {
		if t.number == n {
			return t
		}
	}
	return nil
}

// tellKeep tells what persistence knows of the client: in the rule that looks
// whether he keeps his server.
func (p *Plan) tellKeep(v *kernel.Visit) []flow.Finding {
	if strings.HasPrefix(v.Tell, "persistence ") && strings.HasSuffix(v.Tell, " forgets the server") {
		return nil
	}
	var f *flow.Finding
	for i := range v.Looks {
		l := &v.Looks[i]
		if s := p.stickOf(l.Set); s != nil && f == nil {
			c, _ := s.Similar.Read(s.Family, l.Key)
			f = &flow.Finding{Role: flow.Role{Kind: flow.Persistence, Name: s.Persistence}, Text: tellClient(&c), Why: "no entry yet"}
			if l.Found != nil {
				f.Hit, f.Why = true, p.tellServer(ID(number32(l.Found.Data)))+flow.Age(l.Found)
			}
			continue
		}
		if why, is := notHonoured[l.Set]; is && f != nil && l.Found == nil {
			f.Hit = false
			f.Why += ": " + why + ", so it is forgotten"
		}
	}
	if f == nil {
		return nil
	}
	return []flow.Finding{*f}
}

// notHonoured says why a server that persistence has does not count, by the set
// that it is not in.
var notHonoured = map[string]string{
	"alive": "it does not live, or is of another farm",
	"loose": "it takes no new connections, or is of another farm",
	"avail": "it takes no new connections, or is of another farm",
}

// stickOf gives the persistence whose map a set is; nil: of none.
func (p *Plan) stickOf(set string) *Stick {
	if !strings.HasPrefix(set, "stick") {
		return nil
	}
	for _, s := range p.Sticks() {
		if s.Set == set {
			return &s
		}
	}
	return nil
}

// tellClient tells what makes connections similar.
func tellClient(c *traffic.Client) string {
	var words []string
	for _, n := range []struct {
		word string
		net  netip.Prefix
	}{{"", c.Source}, {"to ", c.Destination}} {
		if !n.net.IsValid() {
			continue
		}
		text := n.word + n.net.String()
		if n.net.IsSingleIP() {
			text = n.word + n.net.Addr().String()
		}
		if c.Port != 0 && n.word == "" {
			text += fmt.Sprintf(" port %d", c.Port)
		}
		words = append(words, text)
	}
	return strings.Join(words, " ")
}

func (p *Plan) tellServer(id ID) string {
	farm, name := p.ServerOf(id)
	if name == "" {
		return fmt.Sprintf("server number %d, which is none now", id&^ID(isMoved))
	}
	return "server " + ServerKey(farm, name)
}

// tellNobody tells that a farm has nobody for a connection, and what is done then.
func (p *Plan) tellNobody(v *kernel.Visit) []flow.Finding {
	for _, l := range v.Looks {
		name := p.FarmOf(number32(l.Key))
		text := v.Tell
		switch {
		case l.Found == nil || name == "":
			continue
		case l.Set == "force":
			text = "nobody has room, and one that lives takes it all the same (onBusy: force)"
		case v.Why != "" || l.Set != "waiting" && l.Set != "none":
			continue
		}
		return []flow.Finding{{Role: flow.Role{Kind: flow.ServerFarm, Name: name}, Hit: true, Text: "server farm " + name + ": " + text}}
	}
	return nil
}

// served tells who serves the connection that went a way; nil: it is for no
// virtual server.
func (p *Plan) served(w *kernel.Way) *flow.Served {
	var s flow.Served
	for _, h := range w.Hooks {
		for i := range h.Visits {
			v := &h.Visits[i]
			switch ours, copies := p.ours(v.Table); {
			case copies:
				p.followCopy(&s, v)
			case ours:
				p.follow(&s, v)
			}
		}
	}
	if s.VirtualServer == "" {
		return nil
	}
	if w.End == kernel.Passed && s.Server == "" {
		s.By = ""
	}
	return &s
}

// follow takes from a visit what it says of who serves.
func (p *Plan) follow(s *flow.Served, v *kernel.Visit) {
	for _, l := range v.Looks {
		if v.Chain == "give" && len(l.Key) == 4 { // whether it has an address of the family or not
			s.Farm, s.Server = p.ServerOf(ID(number32(l.Key)))
		}
		if l.Found == nil {
			continue
		}
		switch l.Set {
		case ServedSet:
			s.VirtualServer = p.VirtualServerOf(number32(l.Key))
			if f := p.farmOf(&l); f != nil {
				s.Farm = f.Name
			}
		case "farm":
			s.Farm = p.FarmOf(number32(l.Found.Data))
		}
	}
	if v.Why != "" || v.Tell == "" {
		return
	}
	switch name := v.Chain; {
	case strings.HasPrefix(name, "policy_"):
		s.By = v.Tell
	case strings.HasPrefix(name, "kept_") && v.Tell == tellPlaced:
		s.By = "persistence " + p.kept(name)
	case strings.HasPrefix(v.Tell, tellBy):
		s.By = v.Tell
	case strings.HasPrefix(name, "force_"), name == "busy" && v.Then != nil:
		s.By = "it is forced upon one: onBusy force"
	case name == "refused_by_farm" && v.Then == nil:
		s.By = "server farm " + s.Farm + ": " + v.Tell
	case v.Tell == tellNoFarm:
		s.By = "virtual server " + s.VirtualServer + " has no farm"
	case name == "refuse", name == "dead" && v.Then != nil, name == "give" && v.Then == kernel.Step(kernel.Drop{}):
		s.By = v.Tell
	}
}

// kept gives the persistence that a chain of kept clients is of.
func (p *Plan) kept(chain string) string {
	for _, k := range p.keeps {
		if chain == "kept_"+traffic.Word(k.Name) {
			return k.Name
		}
	}
	return ""
}

// session tells who serves a session; nil: it is of no virtual server.
func (p *Plan) session(c *kernel.Session) *flow.Served {
	name := p.VirtualServerOf(c.Mark)
	if name == "" {
		return nil
	}
	s := &flow.Served{VirtualServer: name}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range []netip.AddrPort{c.Reply.Source, netip.AddrPortFrom(c.Reply.Source.Addr(), 0)} {
		for _, m := range p.live.sockets[at] {
			for _, mark := range m.farm.marks {
				if mark == c.Mark&kernel.ServerMask && s.Server == "" {
					s.Farm, s.Server = m.farm.Name, m.Name
				}
			}
		}
	}
	return s
}
