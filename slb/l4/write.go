package l4

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/traffic"
)

// Farms gives the names of the farms that something leads to, in the order of
// the file. Others have no elements, and need no ticks.
func (p *Plan) Farms() []string {
	out := make([]string, len(p.farms))
	for i, f := range p.farms {
		out[i] = f.Name
	}
	return out
}

// SetSlots says which server has which slot of a farm, as many as the farm has;
// 0: nobody.
func (p *Plan) SetSlots(farm string, slots []ID) (changed []*kernel.Elements) {
	return p.setSlots(true, farm, slots)
}

// SetForced says who would have which slot if nobody were at a limit, for farms
// whose busy action is force; of others it is not looked at.
func (p *Plan) SetForced(farm string, slots []ID) (changed []*kernel.Elements) {
	return p.setSlots(false, farm, slots)
}

func (p *Plan) setSlots(drawn bool, farm string, list []ID) (changed []*kernel.Elements) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.byFarm[farm]
	if f == nil || !drawn && !f.forces() {
		return nil
	}
	set := "forced"
	if drawn {
		set = f.slotSet()
	}
	e := p.elements(set)
	var put, gone []kernel.Element
	keys := make([]byte, 0, 12*f.Slots)
	for i := range f.Slots {
		at := len(keys)
		keys = binary.NativeEndian.AppendUint32(keys, f.key)
		keys = binary.NativeEndian.AppendUint32(keys, uint32(i))
		key := keys[at:len(keys):len(keys)]
		if i >= len(list) || list[i] == 0 {
			gone = append(gone, kernel.Element{Key: key})
			continue
		}
		at = len(keys)
		keys = binary.NativeEndian.AppendUint32(keys, uint32(list[i]))
		put = append(put, kernel.Element{Key: key, Data: keys[at:len(keys):len(keys)]})
	}
	e.Delete(gone...)
	e.Put(put...)
	return []*kernel.Elements{e}
}

// SlotsIn reads elements of [Plan.SlotSets]: who had which slot of each farm, as many
// as the farm has now. What is of no farm of the plan is passed over.
func (p *Plan) SlotsIn(list []kernel.Element) map[string]slots.Slots {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := map[string]slots.Slots{}
	for i := range list {
		el := &list[i]
		if len(el.Key) != 8 || len(el.Data) != 4 {
			continue
		}
		f := p.byNumber[farmNumber(binary.NativeEndian.Uint32(el.Key))]
		slot := binary.NativeEndian.Uint32(el.Key[4:])
		if f == nil || slot >= uint32(f.Slots) {
			continue
		}
		if found[f.Name] == nil {
			found[f.Name] = make(slots.Slots, f.Slots)
		}
		found[f.Name][slot] = ID(binary.NativeEndian.Uint32(el.Data))
	}
	return found
}

// The maps of slots: of farms with a turn of their own, and of others. Each turn
// has a chain, and for each chain that looks into a map the kernel goes through
// all of it when the chain is made: so that map has the slots of few.
const (
	slotsSet  = "slots"
	turnedSet = "slots_turned"
	copySlots = "copy_slots" // of [CopyTable]
)

// SlotSets gives the maps in which farms have their slots, by table.
func (p *Plan) SlotSets() map[string][]string {
	sets := map[string][]string{Table: {slotsSet, turnedSet}}
	for _, table := range p.CopyTables() {
		sets[table] = []string{copySlots} // in both the same
	}
	return sets
}

// slotSet is the map that a farm has its slots in.
func (f *farm) slotSet() string { return f.mode.slotSet() }

func (m *mode) slotSet() string {
	switch {
	case m.copied:
		return copySlots
	case m.turn != nil:
		return turnedSet
	}
	return slotsSet
}

// States says how the servers of a farm stand: each list holds those of the
// one after it.
type States struct {
	Alive     []ID // that live: persistence with overrideLimit is honoured
	Loose     []ID // of them those that take new connections, or would if they were not busy
	Kept      []ID // modes direct and routed: those whose flows go on, living or not
	Available []ID // of those that live, who takes new connections; each is tried after the one before it if that is at a limit which the kernel counts
}

// SetServers says how the servers of a farm stand.
func (p *Plan) SetServers(farm string, s States) (changed []*kernel.Elements) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.byFarm[farm]
	if f == nil {
		return nil
	}
	if f.kept {
		for set, list := range map[string][]ID{"alive": s.Alive, "loose": s.Loose, "avail": s.Available} {
			changed = append(changed, p.setMembers(set, f, list))
		}
	}
	if f.copied() {
		p.live.kept[farm] = slices.Clone(s.Kept)
		changed = append(changed, p.hold(f))
	} else if p.has.tries() {
		p.live.available[farm] = s.Available
		changed = append(changed, p.setRing(f, s.Available)...)
	}
	if lives := len(s.Alive) > 0; lives != p.live.lives[farm] {
		p.live.lives[farm] = lives
		e, el := p.elements("lives"), kernel.Element{Key: kernel.Number(f.scope())}
		if lives {
			e.Put(el)
		} else {
			e.Delete(el)
		}
		changed = append(changed, e)
	}
	if vacant := len(s.Available) == 0; vacant != p.live.vacant[farm] {
		p.live.vacant[farm] = vacant
		changed = append(changed, p.direct(f.targets)...)
	}
	return changed
}

func (p *Plan) setMembers(set string, f *farm, list []ID) *kernel.Elements {
	e := p.elements(set)
	in := make(map[ID]bool, len(list))
	for _, id := range list {
		in[id] = true
	}
	for _, m := range f.members {
		el := kernel.Element{Key: memberKey(f.key, m.id)}
		if in[m.id] {
			e.Put(el)
		} else {
			e.Delete(el)
		}
	}
	return e
}

// setRing says who is tried after whom: of those that have an address of the
// client's family, however many have none.
func (p *Plan) setRing(f *farm, list []ID) (changed []*kernel.Elements) {
	for at, fam := range traffic.Families() {
		after, last := make(map[ID]ID, len(list)), ID(0)
		for i := 2*len(list) - 1; i >= 0; i-- { // twice round, so that the first comes after the last
			m := p.members[list[i%len(list)]]
			if m == nil {
				continue
			}
			after[m.id] = last
			if p.address(m)[at].IsValid() {
				last = m.id
			}
		}
		e := p.elements("next" + fam.Digit)
		for _, m := range f.members {
			el := kernel.Element{Key: kernel.Number(uint32(m.id))}
			if next := after[m.id]; next != 0 && next != m.id {
				el.Data = kernel.Number(isMoved | uint32(next))
				e.Put(el)
			} else {
				e.Delete(el)
			}
		}
		changed = append(changed, e)
	}
	return changed
}

// direct writes which farm targets lead to: the backup only while it is available
// and the other one is not (T30). One below its thresholds is better than none.
func (p *Plan) direct(targets []*target) []*kernel.Elements {
	farm, empty, head := p.elements("farm"), p.elements("empty"), p.elements("head")
	for _, t := range targets {
		to := t.farm
		if p.live.unavailable[t.farm.Name] && t.backup != nil && !p.live.unavailable[t.backup.Name] {
			to = t.backup
		}
		if to.copied() {
			for _, s := range p.users[t] {
				head.Put(kernel.Element{Key: kernel.Number(s.mark), Data: kernel.Number(to.key)})
			}
			continue
		}
		farm.Put(kernel.Element{Key: kernel.Number(t.number), Data: kernel.Number(to.key)})
		el := kernel.Element{Key: kernel.Number(t.number)}
		if t.goesOn && p.live.vacant[to.Name] {
			empty.Put(el)
		} else {
			empty.Delete(el)
		}
	}
	return []*kernel.Elements{farm, empty, head}
}

// SetUnavailable says that a farm is below its thresholds (T30), so that its
// backup stands in for it while that is not: one element for each target.
func (p *Plan) SetUnavailable(farm string, unavailable bool) (changed []*kernel.Elements) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.byFarm[farm]
	if f == nil || p.live.unavailable[farm] == unavailable {
		return nil
	}
	p.live.unavailable[farm] = unavailable
	return p.direct(f.targets)
}

// SetDead says whose sessions are reset (onFailure: reset; T38). Those of a
// farm that does otherwise are not.
func (p *Plan) SetDead(farm string, ids []ID) (changed []*kernel.Elements) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.byFarm[farm]
	if f == nil || f.OnFailure != config.ServerReset || slices.Equal(p.live.dead[farm], ids) {
		return nil
	}
	p.live.dead[farm] = slices.Clone(ids)
	return p.bury(f)
}

// bury writes the dead of a farm: for each virtual server that leads to it.
func (p *Plan) bury(f *farm) (changed []*kernel.Elements) {
	if f == nil {
		return nil
	}
	for i, fam := range traffic.Families() {
		at, host := p.elements("dead"+fam.Digit), p.elements("dead_host"+fam.Digit)
		for _, m := range f.members {
			a := p.address(m)[i]
			if !a.IsValid() {
				continue
			}
			dead := slices.Contains(p.live.dead[f.Name], m.id)
			for _, mark := range f.marks {
				e, el := host, kernel.Element{Key: kernel.Key(kernel.Number(mark), kernel.Addr(a))}
				if m.Port > 0 {
					e, el = at, kernel.Element{Key: kernel.Key(kernel.Number(mark), kernel.Addr(a), kernel.Port(m.Port))}
				}
				if dead {
					e.Put(el)
				} else {
					e.Delete(el)
				}
			}
		}
		changed = append(changed, at, host)
	}
	return changed
}

// SetShut says that a virtual server is at a limit which the kernel does not
// count itself (above [traffic.CountedMost]), or that it takes nobody new for another reason:
// then [Facts.Shut] says so too.
func (p *Plan) SetShut(virtualServer string, shut bool) (changed []*kernel.Elements) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.byServer[virtualServer]
	if s == nil {
		return nil
	}
	e, el := p.elements("vs_shut"), kernel.Element{Key: kernel.Number(s.mark)}
	if shut {
		e.Put(el)
	} else {
		e.Delete(el)
	}
	return []*kernel.Elements{e}
}

// SetAddress says which addresses a server by DNS name has now; the zero Addr:
// none of the family. Sessions of those that it had are the caller's to end.
func (p *Plan) SetAddress(farm, server string, v4, v6 netip.Addr) (changed []*kernel.Elements) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.memberOf(farm, server)
	if m == nil || m.Host == "" {
		return nil
	}
	old, now := p.live.hosts[m.id], [2]netip.Addr{v4, v6}
	if old == now {
		return nil
	}
	sets := map[*kernel.Elements]bool{}
	dead := p.live.dead[farm]
	p.live.dead[farm] = nil
	p.bury(m.farm) // of the old addresses
	for i, f := range traffic.Families() {
		if old[i] != now[i] {
			p.leave(m, f, old[i], sets)
		}
	}
	p.live.hosts[m.id] = now
	for i, f := range traffic.Families() {
		if old[i] != now[i] {
			p.settle(m, f, now[i], sets)
		}
	}
	p.live.dead[farm] = dead
	if p.has.tries() && !m.farm.copied() {
		changed = append(changed, p.setRing(m.farm, p.live.available[farm])...)
	}
	for e := range sets {
		changed = append(changed, e)
	}
	return append(changed, p.bury(m.farm)...)
}

// leave takes back what an address of a member brought, but for what others with
// the same address and port bring too.
func (p *Plan) leave(m *member, f traffic.Family, a netip.Addr, sets map[*kernel.Elements]bool) {
	if !a.IsValid() {
		return
	}
	at := m.socket(a)
	p.live.sockets[at] = slices.DeleteFunc(p.live.sockets[at], func(o *member) bool { return o == m })
	for _, o := range p.placed(m, f, a) {
		if el, there := p.brought(p.live.sockets[at], o, f, a); there {
			p.written(o.set, sets).Put(el)
		} else {
			p.written(o.set, sets).Delete(o.el)
		}
	}
}

// settle writes what an address of a member brings, and nobody there has brought.
func (p *Plan) settle(m *member, f traffic.Family, a netip.Addr, sets map[*kernel.Elements]bool) {
	if !a.IsValid() {
		return
	}
	at := m.socket(a)
	others := p.live.sockets[at]
	p.live.sockets[at] = append(others, m)
	for _, o := range p.placed(m, f, a) {
		if _, there := p.brought(others, o, f, a); !there {
			p.written(o.set, sets).Put(o.el)
		}
	}
}

// written gives the elements of a set that are written now: they are no longer what
// Compile made.
func (p *Plan) written(set string, sets map[*kernel.Elements]bool) *kernel.Elements {
	e := p.elements(set)
	sets[e] = true
	delete(p.data.sums, set)
	return e
}
