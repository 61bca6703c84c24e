package config

import "net/netip"

// Pool chooses among members: three slots in strict order (FAQ 1.4.2), the
// set that takes part by priority, min and max (FAQ 1.1.14).
type Pool struct {
	Name      string  `yaml:"name" json:"name"`
	Preferred Slot    `yaml:"preferred" json:"preferred"` // default round-robin
	Alternate Slot    `yaml:"alternate" json:"alternate,omitzero"`
	Fallback  Slot    `yaml:"fallback" json:"fallback,omitzero"`
	Min       int     `yaml:"min" json:"min,omitempty"` // at least so many take part; 0: the highest level, whatever its size
	Max       int     `yaml:"max" json:"max,omitempty"` // at most so many; 0: no bound
	Spill     []Spill `yaml:"spill" json:"spill"`       // what lets lower priorities in: down, busy, full (default [down])
	Answers   int     `yaml:"answers" json:"answers"`   // distinct members in one answer (default 1, at most 32)

	BusyProtection bool      `yaml:"busyProtection" json:"busyProtection,omitempty"` // busy members leave the answers
	OnDecline      OnDecline `yaml:"onDecline" json:"onDecline"`                     // default refused (FAQ 1.4.5)
	OnDown         []Rung    `yaml:"onDown" json:"onDown"`                           // default [last-good, all]
	Panic          Percent   `yaml:"panic" json:"panic,omitempty"`                   // below this share of usable members health is ignored; 0 = off

	Probes   []string  `yaml:"probes" json:"probes,omitempty"`    // inherited by members that have none of their own
	Criteria Criteria  `yaml:"criteria" json:"criteria,omitzero"` // over Probes
	Members  []*Member `yaml:"members" json:"members"`
	Pos      Pos       `yaml:"-" json:"-"`
}

// Slot names an algorithm. In YAML it is a bare name or
// {algorithm, weighted, mask, tie}.
type Slot struct {
	Algorithm string `yaml:"algorithm" json:"algorithm,omitempty"` // empty: the slot is not set
	Weighted  *bool  `yaml:"weighted" json:"weighted,omitempty"`   // nil: as the algorithm has it (FAQ 1.1.15)
	Mask      Mask   `yaml:"mask" json:"mask,omitzero"`            // source-hash: network bits that count
	Tie       string `yaml:"tie" json:"tie,omitempty"`             // topology, proximity, ...: who breaks a tie (default round-robin)
	Pos       Pos    `yaml:"-" json:"-"`
}

// Mask gives how many leading bits of a client address count, per family.
// Default 32 and 128. In YAML it is a number (IPv4) or {v4, v6}.
type Mask struct {
	V4 int `yaml:"v4" json:"v4"`
	V6 int `yaml:"v6" json:"v6"`
}

// Spill is a reason for which the next lower priority may take part.
type Spill string

// The reasons to spill (FAQ 1.2.13, 1.2.14, C3).
const (
	SpillDown Spill = "down"
	SpillBusy Spill = "busy"
	SpillFull Spill = "full"
)

// OnDecline is what a name answers when members stand ready and no slot chose.
type OnDecline string

// What a declined pool answers; FAQ 1.4.5 gives the default.
const (
	DeclineRefused  OnDecline = "refused"
	DeclineServfail OnDecline = "servfail"
	DeclineNodata   OnDecline = "nodata"
	DeclineDrop     OnDecline = "drop"
	DeclineAny      OnDecline = "any" // round-robin over the active members
)

// Rung is one step of the onDown ladder. Exactly one of its fields is set; in
// YAML it is a bare action or {addresses: [...]}, {cname: X}, {pool: P}.
type Rung struct {
	Action    RungAction   `yaml:"action" json:"action,omitempty"`
	Addresses []netip.Addr `yaml:"addresses" json:"addresses,omitempty"`
	CNAME     string       `yaml:"cname" json:"cname,omitempty"`
	Pool      string       `yaml:"pool" json:"pool,omitempty"`
}

// RungAction is a rung without an argument.
type RungAction string

// The bare rungs.
const (
	RungLastGood RungAction = "last-good" // the last active set that was not empty
	RungAll      RungAction = "all"       // every member that is not held down
	RungNodata   RungAction = "nodata"
	RungServfail RungAction = "servfail"
	RungRefused  RungAction = "refused"
	RungDrop     RungAction = "drop"
)

// Criteria says how many probes must succeed: all (default) or at least n. In
// YAML it is "all" or {atLeast: n}. AtLeast 0 means all.
type Criteria struct {
	AtLeast int `yaml:"atLeast" json:"atLeast,omitempty"`
}

// Member is an entry of a pool. Exactly one of VirtualServer, Pool, CNAME and
// Address is set.
type Member struct {
	VirtualServer string     `yaml:"virtualServer" json:"virtualServer,omitempty"`
	Pool          string     `yaml:"pool" json:"pool,omitempty"`
	CNAME         string     `yaml:"cname" json:"cname,omitempty"` // canonical after Load
	Address       netip.Addr `yaml:"address" json:"address,omitzero"`

	Weight   int      `yaml:"weight" json:"weight"`     // share among equals, 0 to 65535 (default 1); 0 is a reserve
	Priority int      `yaml:"priority" json:"priority"` // higher goes first, 0 to 255 (default 0)
	Probes   []string `yaml:"probes" json:"probes,omitempty"`
	Criteria Criteria `yaml:"criteria" json:"criteria,omitzero"`
	Pos      Pos      `yaml:"-" json:"-"`
}

// Target is what the member names: "web-telecom", "pool web", an address or a
// host name. It is unique within its pool.
func (m *Member) Target() string {
	switch {
	case m.VirtualServer != "":
		return m.VirtualServer
	case m.Pool != "":
		return "pool:" + m.Pool
	case m.CNAME != "":
		return m.CNAME
	default:
		return m.Address.String()
	}
}
