package config

import (
	"slices"
	"time"
)

// maxFarmServers bounds the servers of a farm: with more than it has places,
// some would never get a connection.
const maxFarmServers = 1000

func (f *ServerFarm) check(c *checker) {
	if n := len(f.Servers); n > maxFarmServers {
		c.bad(&f.Servers, "%d servers are more than %d", n, maxFarmServers)
	}
	c.takesPart(&f.Min, &f.Max, f.Spill)
	c.hash(&f.Mask, string(f.Algorithm), f.Algorithm.Hashes())
	f.checkAlgorithm(c)
	switch {
	case c.given(&f.Slots) && !slices.Contains(farmSlots[:], f.Slots):
		c.bad(&f.Slots, "%d is not one of 16, 64, 256, 1024", f.Slots)
	case c.given(&f.Slots) && f.Slots < len(f.Servers):
		c.bad(&f.Slots, "%d places are not enough for %d servers", f.Slots, len(f.Servers))
	}
	if c.given(&f.Activate) {
		f.Activate.check(c)
	}
	between(c, &f.SlowOnline.Standby, 0, Duration(time.Hour))
	between(c, &f.SlowOnline.Ramp, 0, Duration(time.Hour))
	if c.given(&f.SlowOnline.Standby) && c.given(&f.SlowOnline.Ramp) && !f.SlowOnline.On() {
		c.warn(&f.SlowOnline, "has no effect: standby and ramp are both 0s")
	}
	if f.AutoShutdown != nil {
		f.AutoShutdown.check(c)
	}
	if c.given(&f.Port) {
		between(c, &f.Port, 1, 65535)
	}
	f.checkMode(c)
	c.referProbes(f.Probes)
	c.criteria(&f.Criteria, f.Probes)
	f.checkServers(c)
	f.checkPoolFamily(c)
	f.warn(c)
}

// checkAlgorithm checks what belongs to some algorithms only.
func (f *ServerFarm) checkAlgorithm(c *checker) {
	looks := f.Algorithm.Looks()
	switch {
	case c.given(&f.Direction) && !looks:
		c.bad(&f.Direction, "belongs to bandwidth and max-bandwidth, not to %s", f.Algorithm)
	case looks:
		f.Direction = or(f.Direction, "total")
	}
	switch {
	case c.given(&f.Debit) && f.Algorithm != FarmMaxBandwidth:
		c.bad(&f.Debit, "belongs to max-bandwidth, not to %s", f.Algorithm)
	case c.given(&f.Debit) && f.Debit == 0:
		c.bad(&f.Debit, "is 0: nothing would be spread")
	}
	if c.broken || len(f.Servers) == 0 {
		return
	}
	without := func(has func(*RealServer) bool) (names []string) {
		for _, s := range f.Servers {
			if !has(s) {
				names = append(names, s.Name)
			}
		}
		return names
	}
	if looks {
		switch lacks := without(func(s *RealServer) bool { return s.RateLimit.of(f.Direction) > 0 }); {
		case len(lacks) == len(f.Servers):
			c.warn(&f.Algorithm, "%s has nothing to go by: no server has a rateLimit, direction %s", f.Algorithm, f.Direction)
		case len(lacks) > 0 && f.Algorithm == FarmMaxBandwidth:
			c.warn(&f.Algorithm, "max-bandwidth never chooses %s: it has no rateLimit, direction %s", lacks[0], f.Direction)
		}
	}
	if f.Algorithm == FarmLeastTime {
		lacks := without(func(s *RealServer) bool { probes, _ := f.ProbesOf(s); return len(probes) > 0 })
		if len(lacks) > 0 {
			c.warn(&f.Algorithm, "least-time knows nothing of %s: it has no probes", lacks[0])
		}
	}
}

// checkMode refuses what the way to the servers does not allow: connections are
// tracked, and changed, in mode nat alone.
func (f *ServerFarm) checkMode(c *checker) {
	if c.given(&f.SNATPool) {
		c.refer("SNAT pool", &f.SNATPool)
		if c.given(&f.SNAT) {
			c.bad(&f.SNAT, "has no place beside snatPool")
		}
	}
	if f.Mode == FarmNAT || f.Mode == "" {
		return
	}
	for _, field := range []any{&f.SNAT, &f.SNATPool} {
		if c.given(field) && (field != any(&f.SNAT) || f.SNAT != SNATNone) {
			c.bad(field, "has no place in mode %s, where packets stay as they are", f.Mode)
		}
	}
	if f.Algorithm.Counts() {
		c.bad(&f.Algorithm, "%s counts connections, which nothing tracks in mode %s; a hash, round-robin or random belongs here", f.Algorithm, f.Mode)
	}
	if f.AutoShutdown != nil {
		c.bad(f.AutoShutdown, "has no place in mode %s: what servers answer is not seen", f.Mode)
	}
	if c.given(&f.OnFailure) && f.OnFailure == ServerReset {
		c.bad(&f.OnFailure, "has no place in mode %s: nothing tracks the connections that would be reset", f.Mode)
	}
}

func (a *AutoShutdown) check(c *checker) {
	if !c.given(&a.Resets) && !c.given(&a.Unanswered) && !c.places[a].bad {
		c.bad(a, "at least one of resets, unanswered belongs here")
	}
	for _, n := range []*int{&a.Resets, &a.Unanswered} {
		if c.given(n) {
			between(c, n, 1, 1_000_000)
		}
	}
	between(c, &a.Within, Duration(time.Second), Duration(10*time.Minute))
	if a.Recovery != 0 {
		between(c, &a.Recovery, Duration(time.Second), Duration(24*time.Hour))
	}
}

// checkServers checks the servers, and that none stands in the farm twice.
func (f *ServerFarm) checkServers(c *checker) {
	names, at := make(map[string]*RealServer, len(f.Servers)), make(map[endpoint]*RealServer, len(f.Servers))
	each(c, f.Servers, func(s *RealServer, c *checker) {
		s.check(c, f)
		if other := names[s.Name]; other != nil && s.Name != "" {
			field := any(s)
			if c.given(&s.Name) {
				field = &s.Name
			}
			c.bad(field, "%q is taken by the server at %s", s.Name, other.Pos)
			return
		}
		names[s.Name] = s
		for _, a := range s.Addresses {
			e := endpoint{a, s.Port}
			if other := at[e]; other != nil && a.IsValid() {
				c.bad(s, "%s is server %q of the farm already, at %s", e, other.Name, other.Pos)
			}
			at[e] = s
		}
	})
	c.of(f)
}

// warn warns of what has no effect.
func (f *ServerFarm) warn(c *checker) {
	any := func(has func(*RealServer) bool) bool { return slices.ContainsFunc(f.Servers, has) }
	switch {
	case c.broken:
		return
	case len(f.Servers) == 0 && !c.given(&f.Servers):
		c.warn(f, "has no servers: what it is given is dropped (FAQ 1.1.7)")
		return
	case len(f.Servers) == 0:
		c.warn(&f.Servers, "is empty: what the farm is given is dropped (FAQ 1.1.7)")
		return
	case len(c.farms.users[f.Name]) == 0:
		c.warn(&f.Name, "no virtual server uses it")
	}
	if f.BusyProtection && !any(func(s *RealServer) bool { return s.MaxBandwidth != Bandwidths{} }) {
		c.warn(&f.BusyProtection, "has no effect: no server has a maxBandwidth, so none is ever busy")
	}
	limited := any(func(s *RealServer) bool { return s.MaxConnections > 0 || s.NewConnections > 0 })
	if c.given(&f.OnBusy) && !limited {
		c.warn(&f.OnBusy, "has no effect: no server has maxConnections or newConnections")
	}
	if i := slices.Index(f.Spill, SpillBusy); i >= 0 && !f.BusyProtection {
		c.warn(&f.Spill[i], "has no effect without busyProtection")
	}
	if i := slices.Index(f.Spill, SpillFull); i >= 0 && !limited {
		c.warn(&f.Spill[i], "has no effect: no server has maxConnections or newConnections")
	}
	for _, v := range c.farms.users[f.Name] {
		if f.OnBusy == FarmQueue && v.Serve.Type != ServeTCP {
			c.warn(&f.OnBusy, "queue is of TCP alone: connections of virtual server %q, of type %s, are dropped", v.Name, v.Serve.Type)
			break
		}
	}
}
