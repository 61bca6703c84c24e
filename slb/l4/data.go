package l4

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// data is the elements of a plan by set. Those that nothing writes but Compile
// are shared with the plan before while they are the same (T60).
type data struct {
	shapes map[string]kernel.Set
	lists  map[string][]kernel.Element // while it is being built
	sums   map[string]uint64           // of what nothing writes but Compile
	sets   map[string]*kernel.Elements
}

// live is what ticks and DNS say.
type live struct {
	hosts       map[ID][2]netip.Addr
	unavailable map[string]bool // by farm
	available   map[string][]ID // by farm, who is tried after whom
	vacant      map[string]bool // farms that nobody takes new connections in
	lives       map[string]bool // farms that somebody lives in
	dead        map[string][]ID // by farm
	kept        map[string][]ID // by farm that [CopyTable] serves: those whose flows go on
	sockets     map[netip.AddrPort][]*member
}

func (d *data) add(set string, list ...kernel.Element) {
	d.lists[set] = append(d.lists[set], list...)
}

// number adds an element that gives a number for a number.
func (d *data) number(set string, key, value uint32) {
	d.add(set, kernel.Element{Key: kernel.Number(key), Data: kernel.Number(value)})
}

// member adds a number to a set.
func (d *data) member(set string, key uint32) { d.add(set, kernel.Element{Key: kernel.Number(key)}) }

// build makes the elements.
func (p *Plan) build(f *found, before *Plan) {
	d := &data{shapes: shapes(), lists: map[string][]kernel.Element{}, sums: map[string]uint64{}, sets: map[string]*kernel.Elements{}}
	p.data = d
	p.live = &live{hosts: map[ID][2]netip.Addr{}, unavailable: map[string]bool{}, available: map[string][]ID{}, vacant: map[string]bool{}, lives: map[string]bool{}, dead: map[string][]ID{}, kept: map[string][]ID{}, sockets: map[netip.AddrPort][]*member{}}
	p.remember(before)
	for _, set := range []string{"server4", "host4"} {
		d.lists[set] = make([]kernel.Element, 0, len(p.members))
	}
	for _, fam := range traffic.Families() {
		d.add("exact"+fam.Digit, f.exact[fam.Index]...)
		d.add("nets"+fam.Digit, f.nets[fam.Index]...)
	}
	d.add("ports", f.ports...)
	d.add("protos", f.protos...)
	d.add("any", f.any...)
	d.add("parent", f.parent...)
	for _, s := range p.servers {
		p.ofServer(s)
	}
	for _, t := range p.targets {
		if t.keep != nil {
			d.number("keep", t.number, t.keep.number)
		}
	}
	for _, f := range p.farms {
		p.ofFarm(f)
	}
	p.ofPools()
	p.inherit(before)
}

// ofServer adds what is keyed by a virtual server.
func (p *Plan) ofServer(s *server) {
	d := p.data
	if s.copied() {
		d.member("copy_hits", s.mark)
		d.member("dropped", s.mark) // what this node itself begins
		return
	}
	for _, set := range []string{"limited", "dropped", "shed"} {
		d.member(set, s.mark)
	}
	d.number(ServedSet, s.mark, s.word())
	if s.policy != nil {
		d.number("policy", s.mark, p.policyNumber(s.policy.Name))
		if s.target != nil {
			d.number("target", s.mark, s.target.number)
		}
	}
	if s.limit != nil {
		d.number("limits", s.mark, p.limitNumber(s.limit.Name))
	}
	if s.Serve.TOS != nil {
		d.number("tos", s.mark, uint32(*s.Serve.TOS))
	}
	if s.Serve.Helper != "" {
		d.number("helper", s.mark, helperNumber(s.Serve.Helper))
	}
	if n := s.Serve.MaxConnections; traffic.InKernel(n) {
		d.add("vs_full", kernel.Element{Key: kernel.Number(s.mark), Over: uint32(n)})
	}
	if n := s.Serve.NewConnections; n > 0 {
		d.add("vs_fast", kernel.Element{Key: kernel.Number(s.mark), Rate: connections(n)})
	}
	for _, r := range rates("vs", s.Serve.RateLimit) {
		d.add(r.set, kernel.Element{Key: kernel.Number(s.mark), Rate: r.rate})
	}
}

func connections(perSecond int) *kernel.Rate {
	return &kernel.Rate{PerSecond: uint64(perSecond), Burst: traffic.Burst(perSecond)}
}

// rated is a set with a limit of octets.
type rated struct {
	set  string
	rate *kernel.Rate
}

// rates gives the limits of octets that a bandwidth sets.
func rates(prefix string, b config.Bandwidths) (list []rated) {
	for _, r := range []struct {
		name string
		bits config.Bandwidth
	}{{"_total", b.Total}, {"_in", b.In}, {"_out", b.Out}} {
		if r.bits > 0 {
			list = append(list, rated{prefix + r.name, &kernel.Rate{PerSecond: max(uint64(r.bits)/8, 1), Octets: true}})
		}
	}
	return list
}

// ofFarm adds what is keyed by a farm and its servers.
func (p *Plan) ofFarm(f *farm) {
	d := p.data
	if f.key&drawBits == 0 {
		d.number("mode", f.key, f.mode.number)
	}
	d.member(f.set("waiting"), f.scope())
	d.member(f.set("none"), f.scope())
	if f.forces() {
		d.number("force", f.key, uint32(f.Slots))
	}
	for _, m := range f.members {
		if f.copied() {
			d.member("copy_given", uint32(m.id))
		}
		if m.bounded() {
			d.member("full", uint32(m.id))
		}
		if f.forces() {
			d.member("forcible", uint32(m.id))
		}
		if f.shared || p.has.tries() {
			d.number("home", uint32(m.id), f.key)
		}
		if traffic.InKernel(m.MaxConnections) {
			full, last := traffic.RoomFor(uint32(m.id), m.MaxConnections)
			d.add("srv_full", full)
			d.add("srv_last", last)
		}
		if n := m.NewConnections; n > 0 {
			d.add("srv_fast", kernel.Element{Key: kernel.Number(uint32(m.id)), Rate: connections(n)})
		}
		for i, a := range p.address(m) {
			if !a.IsValid() {
				continue
			}
			fam := traffic.Families()[i]
			others := p.live.sockets[m.socket(a)]
			p.live.sockets[m.socket(a)] = append(others, m)
			for _, at := range p.placed(m, fam, a) {
				if _, there := p.brought(others, at, fam, a); !there {
					d.add(at.set, at.el)
				}
			}
		}
	}
}

// socket is an address and port of a member; port 0: that which the client asked for.
func (m *member) socket(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, m.Port) }

// placed is an element that an address of a member brings.
type placed struct {
	set string
	el  kernel.Element
	own bool // it is the member's; else it is of all who have the address and port
}

// brought gives the element that the first of those who are at an address and port
// brings to the same set, if any does: it is in the place of all of theirs.
func (p *Plan) brought(by []*member, at placed, f traffic.Family, a netip.Addr) (kernel.Element, bool) {
	if at.own {
		return kernel.Element{}, false
	}
	for _, m := range by {
		for _, o := range p.placed(m, f, a) {
			if !o.own && o.set == at.set {
				return o.el, true
			}
		}
	}
	return kernel.Element{}, false
}

// placed gives the elements that an address of a member brings.
func (p *Plan) placed(m *member, f traffic.Family, a netip.Addr) (list []placed) {
	if m.farm.copied() {
		return []placed{{"copy_to" + f.Digit, kernel.Element{Key: kernel.Number(uint32(m.id)), Data: kernel.Addr(a)}, true}}
	}
	key, suffix := kernel.Addr(a), "_host"+f.Digit
	if m.Port > 0 {
		key, suffix = kernel.Key(key, kernel.Port(m.Port)), f.Digit
		list = append(list, placed{"server" + f.Digit, kernel.Element{Key: kernel.Number(uint32(m.id)), Data: key}, true})
	} else {
		list = append(list, placed{"host" + f.Digit, kernel.Element{Key: kernel.Number(uint32(m.id)), Data: key}, true})
	}
	put := func(set string, el kernel.Element) {
		el.Key = key
		list = append(list, placed{set + suffix, el, false})
	}
	switch mode, name := m.farm.Snat(); {
	case name != "":
		if pool := p.pools[name]; pool != nil && len(pool.For(f.IPv6())) > 0 {
			put("snat", kernel.Element{Data: kernel.Number(pool.number)})
		}
	case mode == config.SNATMasquerade:
		put("masquerade", kernel.Element{})
	}
	if s := m.farm.AutoShutdown; s != nil && s.Resets > 0 {
		put("resets", kernel.Element{})
	}
	if m.measured() {
		put("octets_in", kernel.Element{})
		put("octets_out", kernel.Element{})
	}
	for _, r := range rates("rate", m.RateLimit) {
		put(r.set, kernel.Element{Rate: r.rate})
	}
	return list
}

// ofTicks are the sets that ticks write.
var ofTicks = []string{slotsSet, turnedSet, copySlots, "forced", "next4", "next6", "alive", "loose", "avail", "farm", "empty", "lives", "vs_shut", "head", "holds"}

// remember takes over what the plan before was told last.
func (p *Plan) remember(before *Plan) {
	if before == nil {
		return
	}
	before.mu.Lock()
	defer before.mu.Unlock()
	for id, of := range before.live.hosts {
		m, old := p.members[id], before.members[id]
		if m != nil && old != nil && m.Host != "" && m.Host == old.Host {
			p.live.hosts[id] = of
		}
	}
	for _, f := range p.farms {
		p.live.unavailable[f.Name] = before.live.unavailable[f.Name]
		if old := before.byFarm[f.Name]; old != nil && f.like(old) {
			p.live.available[f.Name] = before.live.available[f.Name]
		}
		p.live.vacant[f.Name], p.live.lives[f.Name] = before.live.vacant[f.Name], before.live.lives[f.Name]
		for _, id := range before.live.dead[f.Name] {
			if p.members[id] != nil {
				p.live.dead[f.Name] = append(p.live.dead[f.Name], id)
			}
		}
		for _, id := range before.live.kept[f.Name] {
			if m, old := p.members[id], before.members[id]; m != nil && old != nil && m.farm == f && m.Name == old.Name {
				p.live.kept[f.Name] = append(p.live.kept[f.Name], id)
			}
		}
	}
}

// inherit makes elements of the lists, or takes those of the plan before.
func (p *Plan) inherit(before *Plan) {
	d := p.data
	for set, list := range d.lists {
		sum := sumOf(list)
		d.sums[set] = sum
		if same := before.same(set, sum); same != nil {
			d.sets[set] = same
			continue
		}
		d.sets[set] = kernel.NewElements(list...)
	}
	d.lists = nil
	for _, set := range ofTicks {
		d.sets[set] = kernel.NewElements()
	}
	if before != nil {
		before.mu.Lock()
		p.inheritWritten(before)
		before.mu.Unlock()
	}
	p.direct(p.targets)
	for _, f := range p.farms {
		if p.live.lives[f.Name] {
			p.elements("lives").Put(kernel.Element{Key: kernel.Number(f.scope())})
		}
	}
	for f := range p.live.dead {
		p.bury(p.byFarm[f])
	}
	for _, f := range p.farms {
		p.hold(f)
	}
}

// same gives the elements of a set if they are those of a sum; p may be nil.
func (p *Plan) same(set string, sum uint64) *kernel.Elements {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.data.sums[set]; !ok || old != sum {
		return nil
	}
	return p.data.sets[set]
}

// inheritWritten takes over what ticks wrote for farms that still are as they
// were, so that traffic finds its servers before the first tick.
func (p *Plan) inheritWritten(before *Plan) {
	changed := map[*farm]bool{}
	for _, old := range before.farms {
		if f := p.byFarm[old.Name]; f == nil || !f.like(old) || old.forces() && !f.forces() {
			changed[old] = true
		}
	}
	for _, set := range []string{slotsSet, turnedSet, copySlots, "forced", "next4", "next6", "alive", "loose", "avail"} {
		p.data.sets[set] = before.data.sets[set]
		if len(changed) > 0 {
			p.data.sets[set] = before.data.sets[set].Clone()
		}
	}
	for old := range changed {
		p.forget(old)
	}
	shut := before.data.sets["vs_shut"]
	for _, s := range p.servers {
		if el, ok := shut.Get(kernel.Number(s.mark)); ok && before.byMark[s.mark] != nil && before.byMark[s.mark].Name == s.Name {
			p.data.sets["vs_shut"].Put(el)
		}
	}
}

// like says whether a farm has the same slots, and the same servers, as before.
func (f *farm) like(old *farm) bool {
	return f.key == old.key && f.Slots == old.Slots && f.slotSet() == old.slotSet() && f.kept == old.kept &&
		slices.EqualFunc(f.members, old.members, func(a, b *member) bool { return a.id == b.id && a.Name == b.Name })
}

// forget removes of a farm that is no longer as it was what no longer holds.
func (p *Plan) forget(old *farm) {
	f := p.byFarm[old.Name]
	names := map[ID]string{}
	for _, m := range old.members {
		names[m.id] = m.Name
	}
	gone := func(id ID) bool { // its number may be another's by now
		m := p.members[id]
		return f == nil || f.number != old.number || m == nil || m.farm != f || m.Name != names[id]
	}
	for i := range old.Slots {
		key := kernel.Element{Key: slotKey(old.key, i)}
		for _, name := range []string{old.slotSet(), "forced"} {
			set := p.data.sets[name]
			el, ok := set.Get(key.Key)
			holds := ok && f != nil && (name != "forced" || f.forces()) && f.Slots == old.Slots && !gone(idOf(el.Data))
			to := name
			if name != "forced" && f != nil { // its turn is another's now, or was
				to = f.slotSet()
			}
			moves := f != nil && (f.key != old.key || to != name)
			if ok && (!holds || moves) {
				set.Delete(key)
			}
			if holds && moves && f.copied() == old.copied() {
				p.data.sets[to].Put(kernel.Element{Key: slotKey(f.key, i), Data: el.Data})
			}
		}
	}
	for _, m := range old.members {
		for _, set := range []string{"next4", "next6"} {
			p.data.sets[set].Delete(kernel.Element{Key: kernel.Number(uint32(m.id))})
		}
		stays := !gone(m.id) && f.kept
		if stays && f.key == old.key {
			continue
		}
		for _, name := range []string{"alive", "loose", "avail"} {
			set, key := p.data.sets[name], memberKey(old.key, m.id)
			if _, in := set.Get(key); in && stays {
				set.Put(kernel.Element{Key: memberKey(f.key, m.id)})
			}
			set.Delete(kernel.Element{Key: key})
		}
	}
}

func slotKey(farm uint32, slot int) []byte {
	return kernel.Key(kernel.Number(farm), kernel.Number(uint32(slot)))
}

func memberKey(farm uint32, id ID) []byte {
	return kernel.Key(kernel.Number(farm), kernel.Number(uint32(id)))
}

func idOf(data []byte) ID { return ID(binary.NativeEndian.Uint32(data)) }

// sumOf tells lists of elements apart. The order counts.
func sumOf(list []kernel.Element) uint64 {
	h := fnv.New64a()
	for _, el := range list {
		h.Write(el.Key) // never fails
		h.Write([]byte{'-'})
		h.Write(el.End)
		h.Write([]byte{'='})
		h.Write(el.Data)
		if el.Over > 0 {
			h.Write(kernel.Number(el.Over))
		}
		if el.Rate != nil {
			fmt.Fprint(h, *el.Rate)
		}
	}
	return h.Sum64()
}

// elements gives the elements of a set.
func (p *Plan) elements(set string) *kernel.Elements {
	if p.data.sets[set] == nil {
		p.data.sets[set] = kernel.NewElements()
	}
	return p.data.sets[set]
}
