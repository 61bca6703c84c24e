package l4

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/traffic"
)

// findTargets finds the farms, targets and persistences that virtual servers and
// policies use.
func (p *Plan) findTargets() {
	u := user{Plan: p, farms: map[string]*config.ServerFarm{}, keeps: map[string]*config.Persistence{}}
	for _, f := range p.model.ServerFarms {
		u.farms[f.Name] = f
	}
	for _, k := range p.model.Persistence {
		u.keeps[k.Name] = k
	}
	for _, s := range p.servers {
		a := s.Serve.Default()
		s.target = u.use(&a)
	}
	for _, q := range p.policies {
		for _, r := range q.Rules {
			if r.Action != nil {
				u.use(r.Action)
			}
		}
	}
	order := map[string]int{}
	for i, f := range p.model.ServerFarms {
		order[f.Name] = i
	}
	slices.SortFunc(p.farms, func(a, b *farm) int { return cmp.Compare(order[a.Name], order[b.Name]) })
	slices.SortFunc(p.keeps, func(a, b *keep) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(p.targets, func(a, b *target) int { return cmp.Compare(a.name(), b.name()) })
	numbers := traffic.NewNamer(isTarget - 1)
	for _, t := range p.targets {
		t.number = isTarget | numbers.Of(t.name())
	}
	numbers = traffic.NewNamer(1<<32 - 1)
	for _, k := range p.keeps {
		k.number = numbers.Of(k.Name)
	}
	p.link()
}

// link tells farms who leads to them.
func (p *Plan) link() {
	for _, t := range p.targets {
		t.farm.targets = append(t.farm.targets, t)
		if t.backup != nil {
			t.backup.targets = append(t.backup.targets, t)
		}
	}
	of := map[*config.FarmPolicy][]uint32{}
	for _, s := range p.servers {
		if s.policy != nil {
			of[s.policy] = append(of[s.policy], s.mark)
		}
		if s.target != nil {
			p.users[s.target] = append(p.users[s.target], s)
			s.target.mark(s.mark)
		}
	}
	for _, q := range p.policies {
		for _, r := range q.Rules {
			if t := p.actionTarget(r); t != nil {
				t.mark(of[q]...)
			}
		}
	}
	for _, f := range p.farms {
		slices.Sort(f.marks)
		f.marks = slices.Compact(f.marks)
	}
}

// actionTarget gives the target of a rule's action; nil: it has none.
func (p *Plan) actionTarget(r *config.FarmRule) *target {
	if r.Action == nil {
		return nil
	}
	return p.targetOf(r.Action)
}

// mark notes virtual servers whose connections may be with the farms.
func (t *target) mark(marks ...uint32) {
	for _, f := range []*farm{t.farm, t.backup} {
		if f != nil {
			f.marks = append(f.marks, marks...)
		}
	}
}

// user notes what is used.
type user struct {
	*Plan
	farms map[string]*config.ServerFarm
	keeps map[string]*config.Persistence
}

// use gives the target of an action; nil: it drops.
func (u *user) use(a *config.FarmAction) *target {
	f := u.farm(a.Farm)
	if f == nil {
		return nil
	}
	key := target{farm: f, backup: u.farm(a.Backup), keep: u.keep(a.Persistence)}
	t := u.byTarget[key]
	if t == nil {
		made := key
		t = &made
		u.byTarget[key], u.targets = t, append(u.targets, t)
	}
	t.goesOn = t.goesOn || a.OnFailure == config.FailureContinue
	if key.keep != nil {
		for _, f := range []*farm{f, key.backup} {
			if f != nil {
				f.kept, f.shared = true, f.shared || key.keep.Shared
			}
		}
	}
	return t
}

func (u *user) farm(name string) *farm {
	f, n := u.byFarm[name], u.num.Farms[name]
	if f != nil || u.farms[name] == nil || n == 0 {
		return f
	}
	f = &farm{ServerFarm: u.farms[name], number: n, key: isFarm | n}
	u.Plan.farms = append(u.Plan.farms, f)
	u.byFarm[name], u.byNumber[n] = f, f
	return f
}

// keep gives a persistence that the kernel can keep; nil: there is none, or it
// looks at requests, which is not in effect here (FAQ 1.1.10).
func (u *user) keep(name string) *keep {
	k := u.byKeep[name]
	if c := u.keeps[name]; k == nil && c != nil && traffic.ByAddress(c.By) {
		k = &keep{Persistence: c}
		u.byKeep[name], u.Plan.keeps = k, append(u.Plan.keeps, k)
	}
	return k
}

// name tells a target from others, whatever numbers they have.
func (t *target) name() string {
	name := t.farm.Name + "|"
	if t.backup != nil {
		name += t.backup.Name
	}
	if t.keep != nil {
		name += "|" + t.keep.Name
	}
	return name
}

// findMembers finds the real servers of the farms.
func (p *Plan) findMembers() {
	for _, f := range p.farms {
		for _, s := range f.Servers {
			id := ID(p.num.Servers[ServerKey(f.Name, s.Name)])
			if id == 0 || id > maxNumber || p.members[id] != nil {
				continue
			}
			m := &member{RealServer: s, farm: f, id: id}
			f.members = append(f.members, m)
			p.members[id] = m
		}
	}
}

// mode is how a farm draws one of its slots. Farms that draw alike share it, but
// for those that take turns.
type mode struct {
	number uint32
	name   string // of the chain
	of     config.FarmAlgorithm
	mask   config.Mask
	slots  uint32
	turn   *farm // nil: a lot or a hash
	copied bool  // of farms that [CopyTable] serves
}

// turnsMost is how many farms have a turn of their own: it needs a rule each.
const turnsMost = 256

// findModes says how farms draw. The first by name have a counter each, so that
// their servers get their shares within one; further ones draw by lot.
func (p *Plan) findModes() {
	var turning []*farm
	for _, f := range p.farms {
		if !f.Algorithm.Hashes() && f.Algorithm != config.FarmRandom {
			turning = append(turning, f)
		}
	}
	slices.SortFunc(turning, func(a, b *farm) int { return cmp.Compare(a.Name, b.Name) })
	turns := map[*farm]bool{}
	for _, f := range turning[:min(len(turning), turnsMost)] {
		turns[f] = true
	}
	byName := map[string]*mode{}
	for _, f := range p.farms {
		m := modeOf(f, turns[f])
		if byName[m.name] == nil {
			byName[m.name] = m
			p.modes = append(p.modes, m)
		}
		f.mode = byName[m.name]
		f.key |= f.mode.drawn()
	}
	slices.SortFunc(p.modes, func(a, b *mode) int { return cmp.Compare(a.name, b.name) })
	numbers := traffic.NewNamer(1<<32 - 1)
	for _, m := range p.modes {
		m.number = numbers.Of(m.name)
	}
}

// drawn is what the numbers of farms say of it.
func (m *mode) drawn() uint32 {
	switch {
	case m.copied, m.of.Hashes():
		return 0
	case m.turn != nil:
		return drawTurn
	}
	return uint32(bits.TrailingZeros32(m.slots)) << drawShift
}

func modeOf(f *farm, turn bool) *mode {
	m := &mode{of: config.FarmRandom, slots: uint32(f.Slots), copied: f.copied()}
	switch {
	case turn:
		m.of, m.turn, m.name = config.FarmRoundRobin, f, "turn_"+traffic.Word(f.Name)
	case f.Algorithm.Hashes():
		m.of, m.mask = f.Algorithm, f.Mask
		m.name = fmt.Sprintf("draw_%s_%d_%d_%d", f.Algorithm, f.Mask.V4, f.Mask.V6, f.Slots)
	default:
		m.name = fmt.Sprintf("draw_lot_%d", f.Slots)
	}
	if m.copied {
		m.name = "copy_" + m.name
	}
	return m
}

// findFeatures finds what rules are needed.
func (p *Plan) findFeatures() {
	h := &p.has
	for _, s := range p.servers {
		h.vsFull = h.vsFull || traffic.InKernel(s.Serve.MaxConnections)
		h.shut = h.shut || s.Serve.MaxConnections > traffic.CountedMost
		h.vsFast = h.vsFast || s.Serve.NewConnections > 0
		h.vsRates = h.vsRates || s.Serve.RateLimit != (config.Bandwidths{})
		h.tosClient = h.tosClient || s.Serve.TOS != nil
		h.everyProtocol = h.everyProtocol || s.Serve.Type == config.ServeIP
		if s.copied() {
			h.portless = h.portless || s.Serve.Type == config.ServeIP
			for _, a := range s.Addresses {
				h.copied[traffic.FamilyOf(a)] = true
			}
		}
		h.policies = h.policies || s.limit != nil
	}
	for _, q := range p.policies {
		for _, r := range q.Rules {
			h.tosServer = h.tosServer || r.Action != nil && r.Action.TOS != nil
		}
	}
	for _, k := range p.keeps {
		h.overrides, h.shared = h.overrides || k.OverrideLimit, h.shared || k.Shared
	}
	for _, f := range p.farms {
		if f.copied() {
			continue // what its servers may not have is refused
		}
		h.resets = h.resets || f.OnFailure == config.ServerReset
		h.refusals = h.refusals || f.AutoShutdown != nil && f.AutoShutdown.Resets > 0
		for _, m := range f.members {
			h.full = h.full || traffic.InKernel(m.MaxConnections)
			h.fast = h.fast || m.NewConnections > 0
			h.rates = h.rates || m.RateLimit != (config.Bandwidths{})
			h.octets = h.octets || m.measured()
		}
		for i, mixed := range f.mixed() {
			h.mixed[i] = h.mixed[i] || mixed
		}
	}
}

// measured says whether the rates of a server are looked at.
func (m *member) measured() bool {
	return m.farm.Algorithm.Looks() || m.farm.BusyProtection && m.MaxBandwidth != (config.Bandwidths{}) || m.RateLimit != (config.Bandwidths{})
}

// bounded says whether the kernel counts a server's connections against a limit.
func (m *member) bounded() bool { return traffic.InKernel(m.MaxConnections) || m.NewConnections > 0 }

// tries says whether a server may refuse a connection that its slot gives it, so
// that another one has to be tried.
func (h *features) tries() bool { return h.full || h.fast || h.mixed[0] || h.mixed[1] }

// limited says whether a virtual server may have to refuse.
func (h *features) limited() bool { return h.shut || h.vsFull || h.vsFast || h.policies }

// word is what rules know of a virtual server by one look-up: the farm, if a slot
// of it is all that a connection needs; the target, if there is more to ask; or
// that its policy says where to go, or nothing does.
func (s *server) word() uint32 {
	switch t, v := s.target, s.Serve; {
	case s.policy != nil || t == nil:
		return isAsked
	case t.keep != nil, t.backup != nil, t.farm.tries(), s.limit != nil, v.MaxConnections > 0, v.NewConnections > 0:
		return t.number
	default:
		return t.farm.key
	}
}

// tries says whether a server of the farm may refuse a connection that its slot gives it.
func (f *farm) tries() bool {
	return f.mixed() != [2]bool{} || slices.ContainsFunc(f.members, (*member).bounded)
}

// mixed says of which families some servers of the farm have no address, or may have
// none: those by name.
func (f *farm) mixed() (is [2]bool) {
	var has [2]int
	for _, m := range f.members {
		if m.Host != "" && len(f.members) > 1 {
			return [2]bool{true, true}
		}
		for _, a := range m.Addresses {
			has[traffic.FamilyOf(a)]++
		}
	}
	for i, n := range has {
		is[i] = n > 0 && n < len(f.members)
	}
	return is
}
