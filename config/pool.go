package config

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
)

// Pool chooses among members: three slots in strict order (FAQ 1.4.2), the
// set that takes part by priority, min and max (FAQ 1.1.14).
type Pool struct {
	Name      string  `yaml:"name" json:"name"`
	Preferred Slot    `yaml:"preferred" json:"preferred"`          // default round-robin
	Alternate Slot    `yaml:"alternate" json:"alternate,omitzero"` // asked when preferred chose nobody
	Fallback  Slot    `yaml:"fallback" json:"fallback,omitzero"`   // asked last
	Min       int     `yaml:"min" json:"min,omitempty"`            // at least so many take part; 0: the highest level, whatever its size
	Max       int     `yaml:"max" json:"max,omitempty"`            // at most so many; 0: no bound
	Spill     []Spill `yaml:"spill" json:"spill" words:"spill"`    // what makes room for lower priorities (default [down])
	Answers   int     `yaml:"answers" json:"answers"`              // distinct members in one answer (default 1, at most 32)

	BusyProtection bool      `yaml:"busyProtection" json:"busyProtection,omitempty"` // busy members leave the answers
	OnDecline      OnDecline `yaml:"onDecline" json:"onDecline" words:"onDecline"`   // the answer when members are usable and no slot chose (default refused, FAQ 1.4.5)
	OnDown         []Rung    `yaml:"onDown" json:"onDown"`                           // tried in order when no member is usable; if an operator holds every member, none is tried: the name is answered NODATA (default [last-good, all])
	Panic          Percent   `yaml:"panic" json:"panic,omitempty"`                   // below this share of usable members health is ignored; 0 = off
	Quorum         Percent   `yaml:"quorum" json:"quorum,omitempty"`                 // below this share of usable members the pool counts as down: in another pool the next member has its turn, on its own onDown; 0 = off

	Probes   []string  `yaml:"probes" json:"probes,omitempty"`    // inherited by members that have none of their own
	Criteria Criteria  `yaml:"criteria" json:"criteria,omitzero"` // over Probes
	Members  []*Member `yaml:"members" json:"members"`            // at least one
	Pos      Pos       `yaml:"-" json:"-"`
}

// Spill is a reason for which the next lower priority may take part.
type Spill string

// The reasons to spill (FAQ 1.2.13, 1.2.14, C3).
const (
	SpillDown Spill = "down" // members are down or held
	SpillBusy Spill = "busy" // members are busy, and the pool has busyProtection
	SpillFull Spill = "full" // members are at their limit of connections
)

// OnDecline is what a name answers when members stand ready and no slot chose.
type OnDecline string

// What a declined pool answers; FAQ 1.4.5 gives the default.
const (
	DeclineRefused  OnDecline = "refused"  // rcode REFUSED
	DeclineServfail OnDecline = "servfail" // rcode SERVFAIL
	DeclineNodata   OnDecline = "nodata"   // the name exists, without an address
	DeclineDrop     OnDecline = "drop"     // no answer at all
	DeclineAny      OnDecline = "any"      // round-robin over the active members
)

// Rung is one step of the onDown ladder. Exactly one of its fields is set; in
// YAML it is a bare action or {addresses: [...]}, {cname: X}, {pool: P}.
type Rung struct {
	Action    RungAction   `yaml:"action" json:"action,omitempty" words:"rung"` // a rung without an argument; also written bare
	Addresses []netip.Addr `yaml:"addresses" json:"addresses,omitempty"`        // answers these
	CNAME     string       `yaml:"cname" json:"cname,omitempty"`                // answers this name; canonical after Load
	Pool      string       `yaml:"pool" json:"pool,omitempty"`                  // asks another pool
}

// RungAction is a rung without an argument.
type RungAction string

// The bare rungs.
const (
	RungLastGood RungAction = "last-good" // the last active set that was not empty
	RungAll      RungAction = "all"       // every member that is not held down
	RungNodata   RungAction = "nodata"    // the name exists, without an address
	RungServfail RungAction = "servfail"  // rcode SERVFAIL
	RungRefused  RungAction = "refused"   // rcode REFUSED
	RungDrop     RungAction = "drop"      // no answer at all
)

// Criteria says how many probes must succeed: all (default) or at least n. In
// YAML it is "all" or {atLeast: n}. Without AtLeast: all.
type Criteria struct {
	AtLeast int `yaml:"atLeast" json:"atLeast,omitempty"` // 1 to the number of probes
}

func (p *Pool) defaults() {
	*p = Pool{
		Preferred: Slot{Algorithm: "round-robin"},
		Spill:     []Spill{SpillDown},
		Answers:   1,
		OnDecline: DeclineRefused,
		OnDown:    []Rung{{Action: RungLastGood}, {Action: RungAll}},
	}
}

func (r *Rung) decodeShort(d *decoder, p *place) {
	if word, _, _ := scalarText(p.node); d.word(p, word, "rung") {
		r.Action = RungAction(word)
	}
}

func (cr *Criteria) decodeShort(d *decoder, p *place) {
	if word, _, _ := scalarText(p.node); word != "all" {
		d.fail(p, "", "%s is neither all nor {atLeast: N}", quote(word))
	}
}

// ProbesOf gives the probes a member has in its pool, and how many must
// succeed: its own, else those of the pool. A nested pool has none, for it has
// the health of its members.
func (p *Pool) ProbesOf(m *Member) ([]string, Criteria) {
	switch {
	case m.Pool != "":
		return nil, Criteria{}
	case len(m.Probes) > 0:
		return m.Probes, m.Criteria
	case m.Criteria != (Criteria{}):
		return p.Probes, m.Criteria
	default:
		return p.Probes, p.Criteria
	}
}

func (p *Pool) check(c *checker) {
	p.checkSlots(c)
	p.checkSet(c)
	p.checkProbes(c)
	p.checkMembers(c)
	p.checkLadder(c)
}

// checkSet checks who takes part.
func (p *Pool) checkSet(c *checker) {
	between(c, &p.Min, 0, 65535)
	between(c, &p.Max, 0, 65535)
	between(c, &p.Answers, 1, 32)
	if p.Max > 0 && p.Min > p.Max {
		c.bad(&p.Min, "min %d is larger than max %d", p.Min, p.Max)
	}
	if p.Panic > 0 && p.Quorum > 0 {
		c.bad(&p.Quorum, "has no place beside panic, which answers what quorum would not")
	}
	distinct(c, p.Spill)
}

// ends says whether a rung always answers, so that none after it is reached.
// last-good and all can be empty, and a pool can be down itself.
func (r *Rung) ends() bool {
	switch r.Action {
	case RungNodata, RungServfail, RungRefused, RungDrop:
		return true
	}
	return len(r.Addresses) > 0 || r.CNAME != ""
}

func (r *Rung) String() string {
	switch {
	case r.Action != "":
		return string(r.Action)
	case r.CNAME != "":
		return "cname " + r.CNAME
	case r.Pool != "":
		return "pool " + r.Pool
	default:
		return "addresses"
	}
}

func (p *Pool) checkLadder(c *checker) {
	c.empty(&p.OnDown, len(p.OnDown))
	end, seen := -1, map[string]bool{}
	for i := range p.OnDown {
		r := &p.OnDown[i]
		r.check(c)
		switch {
		case end >= 0:
			c.bad(r, "is never reached: %s before it always answers", &p.OnDown[end])
		case seen[r.String()]:
			c.bad(r, "%s stands here twice", r)
		case r.ends():
			end = i
		}
		seen[r.String()] = true
	}
}

func (r *Rung) check(c *checker) {
	c.oneOf(r, []bool{r.Action != "", len(r.Addresses) > 0, r.CNAME != "", r.Pool != ""},
		"action, addresses, cname, pool")
	distinct(c, r.Addresses)
	for i := range r.Addresses {
		c.endpoint(&r.Addresses[i])
	}
	if r.CNAME != "" {
		c.hostName(&r.CNAME)
	}
	if r.Pool != "" {
		c.refer("pool", &r.Pool)
	}
}

// maxNesting bounds pools within pools: how long the ways are that explain
// tells. It alone does not bound the work of a query, for a pool that several
// pools nest is asked once for each; maxAsked does.
const (
	maxNesting = 8
	maxAsked   = 10_000 // members that one query may ask, some milliseconds of work
)

// poolGraph refuses pools that contain or fall back to themselves, and those
// that nest so much that a query takes too long. A pool may fall back to one
// that contains it, for there it counts as down.
func (c *checker) poolGraph() {
	inside, behind := newGraph(c.nested), newGraph(c.fallbacks)
	looped := false
	each(c, c.m.Pools, func(p *Pool, c *checker) {
		if way := inside.loop(p.Name); way != "" {
			c.bad(&p.Name, "the pool contains itself: %s", way)
			looped = true
		}
		if way := behind.loop(p.Name); way != "" {
			c.bad(&p.Name, "the pool falls back to itself when down: %s", way)
		}
	})
	if !looped {
		c.nesting(inside)
	}
}

// nesting reports the pools that nest too deep or ask too many members. Those
// that contain them do too, and are not reported.
func (c *checker) nesting(inside *graph) {
	depths, asked := map[string]int{}, map[string]int{}
	each(c, c.m.Pools, func(p *Pool, c *checker) {
		if d := inside.depth(p.Name, depths); d == maxNesting {
			c.bad(&p.Name, "pools nest %d deep here, at most %d may", d+1, maxNesting)
		}
		within := func(pool string) bool { return c.asked(pool, asked) <= maxAsked }
		if !within(p.Name) && !slices.ContainsFunc(c.nested(p.Name), func(n string) bool { return !within(n) }) {
			c.bad(&p.Name, "a query asks more than %d members here, those of a nested pool each time that it is reached: %s",
				maxAsked, c.widest(p.Name, asked))
		}
	})
}

// asked counts the members that a query of a pool asks, those of nested pools
// included. It counts no further than just above maxAsked.
func (c *checker) asked(pool string, known map[string]int) int {
	n, ok := known[pool]
	if ok {
		return n
	}
	if p := c.pools[pool]; p != nil {
		n = len(p.Members)
	}
	for _, inner := range c.nested(pool) {
		n = min(n+c.asked(inner, known), maxAsked+1)
	}
	known[pool] = n
	return n
}

// widest gives the way from a pool through the nested ones that ask most:
// "a (10001) -> b (2500)".
func (c *checker) widest(pool string, known map[string]int) string {
	count := strconv.Itoa(known[pool])
	if known[pool] > maxAsked {
		count = "more than " + strconv.Itoa(maxAsked)
	}
	way := pool + " (" + count + ")"
	if inner := c.nested(pool); len(inner) > 0 {
		most := slices.MaxFunc(inner, func(a, b string) int { return cmp.Compare(known[a], known[b]) })
		way += " -> " + c.widest(most, known)
	}
	return way
}

// nested lists the pools that are members of a pool.
func (c *checker) nested(pool string) (names []string) {
	if p := c.pools[pool]; p != nil {
		for _, m := range p.Members {
			if m.Pool != "" {
				names = append(names, m.Pool)
			}
		}
	}
	return names
}

// fallbacks lists the pools on a pool's onDown ladder.
func (c *checker) fallbacks(pool string) (names []string) {
	if p := c.pools[pool]; p != nil {
		for _, r := range p.OnDown {
			if r.Pool != "" {
				names = append(names, r.Pool)
			}
		}
	}
	return names
}
