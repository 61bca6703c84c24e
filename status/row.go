package status

import (
	"strings"
	"time"
)

// ID names a row: "kind/name", for example "link/telecom",
// "virtualServer/web" or "probe/10.0.0.7:80/http". It outlives reloads, so
// that no health is forgotten (T60).
type ID string

// MakeID joins a kind and the parts of a name.
func MakeID(kind string, parts ...string) ID {
	return ID(kind + "/" + strings.Join(parts, "/"))
}

// Kind is the part before the first slash.
func (id ID) Kind() string {
	kind, _, _ := strings.Cut(string(id), "/")
	return kind
}

// Name is the part after the first slash.
func (id ID) Name() string {
	_, name, _ := strings.Cut(string(id), "/")
	return name
}

// The kinds of rows. Probe rows are evidence, all others verdicts.
const (
	KindProbe         = "probe"         // probe/TARGET/PROBE
	KindVirtualServer = "virtualServer" // virtualServer/NAME
	KindLink          = "link"          // link/NAME
	KindSite          = "site"          // site/NAME
	KindPool          = "pool"          // pool/POOL/MEMBER
	KindInterface     = "interface"     // interface/NAME, of links that have one
	KindKernel        = "kernel"        // kernel/OWNER: whether Linux is as he wishes
	KindLinkGroup     = "linkGroup"     // linkGroup/NAME: whether the group is available
	KindDNSServer     = "dnsServer"     // dnsServer/NAME
	KindRealServer    = "realServer"    // realServer/FARM/NAME
	KindServerFarm    = "serverFarm"    // serverFarm/NAME: whether the farm is available
	KindSNATPool      = "snatPool"      // snatPool/NAME: whether it has room
)

// Health is three-valued: what was never probed is unknown, which is shown as
// such and is usable (C1).
type Health uint8

// The values of Health.
const (
	Unknown Health = iota
	Up
	Down
)

var healthNames = [...]string{"unknown", "up", "down"}

func (h Health) String() string { return healthNames[h] }

// MarshalText writes unknown, up or down.
func (h Health) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote; any other text is unknown.
func (h *Health) UnmarshalText(b []byte) error {
	*h = Unknown
	for i, name := range healthNames {
		if name == string(b) {
			*h = Health(i)
		}
	}
	return nil
}

// Row is the state of one thing. A Row in a [Table] is never changed.
//
// Health, Busy, Full and Hold are separate on purpose: failure spills to a
// lower priority, fullness does not (T24), and an operator's word is neither.
type Row struct {
	ID     ID     `json:"id"`
	Health Health `json:"health"`
	Busy   bool   `json:"busy,omitempty"` // over the busy threshold, not yet under recovery
	Full   bool   `json:"full,omitempty"` // at its limit of connections

	// Shed is how many of the 256 slices of clients leave it, while it is
	// neither busy nor free: busy protection with shed: hash-slices.
	Shed      uint16    `json:"shed,omitempty"`
	LoadSince time.Time `json:"loadSince,omitzero"` // when Busy, Full or Shed took its value
	LoadWhy   string    `json:"loadWhy,omitempty"`  // one sentence with the figures

	// Waiting: this row's first result since start is still to come and no
	// state was kept from before. It ends with the first result.
	Waiting bool `json:"waiting,omitempty"`

	Since time.Time `json:"since"`          // when Health took its value
	Seen  time.Time `json:"seen,omitzero"`  // when the evidence was last gathered
	Why   string    `json:"why,omitempty"`  // one sentence of evidence
	By    string    `json:"by,omitempty"`   // who found it: probe, link, warm start, a node
	Hold  *Hold     `json:"hold,omitempty"` // the operator's word; nil is none
}

// WarmStart is [Row.By] of what was kept before the start, as long as nobody has looked since.
const WarmStart = "warm start"

// HoldState is what an operator forces.
type HoldState uint8

// The values of HoldState.
const (
	HoldDown  HoldState = iota // forced down (the default)
	HoldUp                     // forced up, whatever the probes say
	HoldDrain                  // no new clients; those that are there may finish
)

var holdNames = [...]string{"down", "up", "drain"}

func (h HoldState) String() string { return holdNames[h] }

// MarshalText writes down, up or drain.
func (h HoldState) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote; any other text is down, the
// cautious reading of an order to take something out.
func (h *HoldState) UnmarshalText(b []byte) error {
	*h = HoldDown
	for i, name := range holdNames {
		if name == string(b) {
			*h = HoldState(i)
		}
	}
	return nil
}

// Hold is an operator's word on a row: a layer over what probes find. It
// outlives reloads and restarts and ends with Release or at Until.
type Hold struct {
	State  HoldState `json:"state"`
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Until  time.Time `json:"until,omitzero"` // zero: until released
}

// Held says whether an operator keeps the row out of new choices.
func (r *Row) Held() bool { return r.Hold != nil && r.Hold.State != HoldUp }

// Usable says whether the row lets what needs it be chosen: up or unknown
// (C1), or forced up, and not held. Busy and Full are judged by pick.
func (r *Row) Usable() bool {
	if r.Hold != nil {
		return r.Hold.State == HoldUp
	}
	return r.Health != Down
}

// same says whether two rows would lead to the same decisions and be shown
// the same way. Seen and Why alone do not make a new table: evidence of an
// unchanged state is read from the prober.
func (r *Row) same(o *Row) bool {
	return r.Health == o.Health && r.Busy == o.Busy && r.Full == o.Full && r.Shed == o.Shed && r.Waiting == o.Waiting &&
		r.Since.Equal(o.Since) && r.By == o.By && r.Hold == o.Hold
}
