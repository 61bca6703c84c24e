package slb

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// farm is a server farm at run time.
type farm struct {
	*config.ServerFarm
	row     status.ID
	group   *slots.Group
	members []*member  // of the group, in the order of the configuration
	off     []*member  // those that are switched off
	users   []*virtual // that may send it connections

	state slots.State
	last  slots.Result
	load  slots.Load // as it is now
	given slots.Load // as the last tick had it
	warm  bool       // connections have come of late

	alive  slots.IDs // those whose connections go on
	before slots.IDs // of them those that are only known to have been there before the start
	dead   slots.IDs // those whose connections are reset
	cut    slots.IDs // those that are switched off and left with none
}

// member is a real server of a farm at run time.
type member struct {
	*config.RealServer
	farm    *farm
	id      l4.ID
	row     status.ID // that probes write
	own     status.ID // that we write when the server is out for a reason of ours
	addrs   [2]netip.Addr
	targets []*target // where its connections are counted; none unless somebody counts

	live       int // connections of this farm
	opened     uint64
	unanswered uint64

	meter *meter // nil: nobody looks at its rates
	watch *watch // nil: it is not shut down by what its connections show
}

// gather makes what the model and the numbers say. farms and virtuals are those
// that there were.
func (s *SLB) gather(n l4.Numbers, farms map[string]*farm, virtuals map[string]*virtual) {
	for _, c := range s.model.ServerFarms {
		f, err := s.newFarm(c, n)
		if err != nil { // the compiler would have refused it
			s.opts.Log.Error("a server farm cannot be used", "farm", c.Name, "err", err)
			continue
		}
		f.succeed(farms[c.Name])
		s.farms[c.Name] = f
		s.list = append(s.list, f)
	}
	s.gatherVirtuals(n, virtuals)
	for _, f := range s.list {
		if f.group.Pace() == slots.Fast {
			s.fast = append(s.fast, f)
		}
		if f.measures() {
			s.metered = append(s.metered, f)
		}
		for _, m := range f.members {
			if m.watch != nil {
				s.watched = append(s.watched, m)
			}
		}
	}
	s.gatherPools()
}

// newFarm gives a farm as if nothing had been before.
func (s *SLB) newFarm(c *config.ServerFarm, n l4.Numbers) (*farm, error) {
	f := &farm{ServerFarm: c, row: status.MakeID(status.KindServerFarm, c.Name)}
	for _, r := range c.Servers {
		id := l4.ID(n.Servers[l4.ServerKey(c.Name, r.Name)])
		if id == 0 {
			continue // the compiler has told
		}
		m := &member{RealServer: r, farm: f, id: id, row: status.MakeID(status.KindRealServer, c.Name, r.Name), own: status.MakeID(status.KindServerFarm, c.Name, r.Name)}
		for _, a := range r.Addresses {
			m.addrs[traffic.FamilyOf(a)] = a
		}
		if r.Host != "" {
			m.addrs = s.names.known(r.Host)
			s.plan.SetAddress(c.Name, r.Name, m.addrs[0], m.addrs[1])
		}
		if !r.Enabled {
			f.off = append(f.off, m)
			continue
		}
		m.meter, m.watch = newMeter(m), newWatch(m)
		f.members = append(f.members, m)
	}
	group, err := slots.New(f.spec())
	f.group = group
	return f, err
}

// spec is what the slots of a farm are compiled from. Limits that the kernel
// counts itself are left to it: it tries another server when one is at its own;
// unless lower priorities have their turn then, of which it knows nothing.
func (f *farm) spec() slots.Spec {
	sp := slots.Spec{Name: f.Name, Row: f.row, Words: slots.Words{Members: "servers", Group: "farm"},
		Algorithm: algorithmOf(f.Algorithm), Direction: slots.DirectionOf(f.Direction), Debit: float64(f.Debit), Size: f.Slots,
		Min: f.Min, Max: f.Max, Spill: slots.SpillOf(f.Spill), BusyProtection: f.BusyProtection,
		Activate: slots.Activation{Lower: int(f.Activate.Lower), Upper: int(f.Activate.Upper)},
		Slow:     pick.SlowOnline{Standby: time.Duration(f.SlowOnline.Standby), Ramp: time.Duration(f.SlowOnline.Ramp)},
		Force:    f.OnBusy == config.FarmForce}
	for _, m := range f.members {
		made := slots.Member{Name: m.Name, ID: m.id, Weight: m.Weight, Priority: m.Priority, Row: m.row,
			Needs: []status.ID{m.row, m.own}, RateLimit: slots.ByDirection(m.RateLimit)}
		if m.MaxConnections > traffic.CountedMost || slices.Contains(f.Spill, config.SpillFull) {
			made.MaxConnections = m.MaxConnections
		}
		sp.Members = append(sp.Members, made)
	}
	return sp
}

// algorithmOf gives the word that slots has for an algorithm.
func algorithmOf(a config.FarmAlgorithm) slots.Algorithm {
	if a == config.FarmMemberWeightedLeastConnections {
		return slots.WeightedMemberLeastConnections
	}
	return slots.Algorithm(a)
}

// succeed takes over what is still true of the farm that this one was.
func (f *farm) succeed(old *farm) {
	if old == nil {
		return
	}
	f.state, f.last, f.alive, f.before, f.dead, f.cut = old.state, old.last, old.alive, old.before, old.dead, old.cut
	before := map[l4.ID]*member{}
	for _, m := range old.members {
		before[m.id] = m
	}
	for _, m := range f.members {
		was := before[m.id]
		if was == nil {
			continue
		}
		if m.meter != nil && was.meter != nil {
			m.meter.succeed(was.meter)
		}
		if m.watch != nil && was.watch != nil && reflect.DeepEqual(m.farm.AutoShutdown, old.AutoShutdown) {
			*m.watch = *was.watch
		}
	}
}

// tick has farms ticked, tells the kernel what changed, and writes the rows. all
// says that the kernel and the board know nothing of them yet.
func (s *SLB) tick(now time.Time, farms []*farm, all bool) {
	in := slots.Input{Table: s.newest(), Gauges: s.opts.Board.Gauges(), Now: now, Every: tickEvery}
	if len(s.fast) > 0 {
		in.Every = tickFast
	}
	slices.SortFunc(farms, func(a, b *farm) int { return compare(a.Name, b.Name) })
	var changed []*kernel.Elements
	var rows []status.Row
	virtuals := s.asked.told(s.virtuals)
	if all {
		for _, v := range s.virtuals {
			virtuals[v] = true
		}
	}
	for _, f := range farms {
		up := f.last.Up
		changed = append(changed, s.tickFarm(f, &in)...)
		rows = append(rows, f.rowNow())
		for _, v := range f.users {
			if up != f.last.Up {
				virtuals[v] = true
			}
		}
	}
	for _, v := range s.shutting() {
		virtuals[v] = true
	}
	for v := range virtuals {
		changed = append(changed, s.shut(v, in.Table.Row(v.row).Hold)...)
		rows = append(rows, v.rowNow())
	}
	if len(changed) > 0 {
		s.opts.Kernel.Changed(Owner, changed...)
	}
	if len(rows) > 0 {
		s.opts.Board.Update(rows...)
	}
	s.spells.End(Owner, now, s.opts.Board.Record)
}

// tickFarm has one farm ticked, and gives what of the kernel's elements changed.
func (s *SLB) tickFarm(f *farm, in *slots.Input) []*kernel.Elements {
	var result slots.Result
	f.state, result = f.group.Tick(*in, f.load, f.state)
	f.given = slots.Load{Arrivals: f.load.Arrivals, Members: append(f.given.Members[:0], f.load.Members...), Everywhere: append(f.given.Everywhere[:0], f.load.Everywhere...)}
	told := result.Obey(in.Table.Row(f.row).Hold)
	s.narrate(f, &result, in.Now)
	f.last = result
	if f.due() {
		s.due[f] = true
	} else {
		delete(s.due, f)
	}
	s.notice(f, in)
	return append(f.tell(s.plan, &told, in.Table), s.plan.SetDead(f.Name, f.dead)...)
}

// tell tells a plan what a tick has found.
func (f *farm) tell(p *l4.Plan, told *slots.Result, rows *status.Table) (changed []*kernel.Elements) {
	changed = append(changed, p.SetServers(f.Name, l4.States{Alive: f.honoured(told), Loose: told.AvailableOrBusy, Kept: f.keeps(told, rows), Available: told.Available})...)
	changed = append(changed, p.SetSlots(f.Name, told.Slots)...)
	if told.Forced != nil {
		changed = append(changed, p.SetForced(f.Name, told.Forced)...)
	}
	return append(changed, p.SetUnavailable(f.Name, !told.Up)...)
}

// due says whether the farm changes by itself.
func (f *farm) due() bool { return !f.last.Next.IsZero() }

// honoured gives the servers that persistence with overrideLimit may lead to:
// those that are switched off and may end in peace too.
func (f *farm) honoured(told *slots.Result) slots.IDs {
	if !f.SlowOffline || len(f.off) == 0 || told.Alive == nil {
		return told.Alive
	}
	list := slices.Clone(told.Alive)
	for _, m := range f.off {
		list = append(list, m.id)
	}
	slices.Sort(list)
	return list
}

// keeps gives the servers whose flows go on though nothing tracks them (modes
// direct and routed), by the same rules as [SLB.notice]: with onFailure keep those
// that failed too, with reschedule while another one lives they do not, and never
// those that an operator holds down.
func (f *farm) keeps(told *slots.Result, rows *status.Table) (list []l4.ID) {
	if f.Mode != config.FarmDirect && f.Mode != config.FarmRouted {
		return nil
	}
	alive := f.honoured(told)
	moves := f.OnFailure == config.ServerReschedule && len(told.Alive) > 0
	for _, members := range [...][]*member{f.members, f.off} {
		for _, m := range members {
			hold := rows.Row(m.row).Hold
			if down := hold != nil && hold.State == status.HoldDown; !down && (!moves || alive.Has(m.id)) {
				list = append(list, m.id)
			}
		}
	}
	return list
}

// rowNow is the row of the farm.
func (f *farm) rowNow() status.Row {
	row := status.Row{ID: f.row, Health: status.Up, Why: f.last.Why, By: Owner}
	if !f.last.Up {
		row.Health = status.Down
	}
	return row
}

// memberOf gives a server of the farm, one that is switched off too; nil: there
// is none of this number.
func (f *farm) memberOf(id l4.ID) *member {
	for _, list := range [...][]*member{f.members, f.off} {
		for _, m := range list {
			if m.id == id {
				return m
			}
		}
	}
	return nil
}
