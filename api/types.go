package api

import (
	"net/netip"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

// Pool is a pool at this moment.
type Pool struct {
	Name    string   `json:"name"`
	State   string   `json:"state"`             // up; or why nobody takes part: full, down, held
	Waiting bool     `json:"waiting,omitempty"` // a member's first result is still to come, so names answer SERVFAIL
	Members int      `json:"members"`
	Active  []string `json:"active"`           // who takes part now
	Lapsed  bool     `json:"lapsed,omitempty"` // all are busy: busy protection lapsed (FAQ 1.2.26)
	Panic   bool     `json:"panic,omitempty"`  // too few are usable: health is ignored
	Slots   []string `json:"slots"`            // preferred, alternate, fallback, as far as they are set
	Names   []string `json:"names,omitempty"`  // dynamic names that it answers
}

// Member is a member of a pool at this moment.
type Member struct {
	Pool     string          `json:"pool"`
	Name     string          `json:"name"`
	State    string          `json:"state"` // up, unknown, waiting, busy, full, down, held
	Active   bool            `json:"active"`
	Why      string          `json:"why,omitempty"` // why it does not take part, or does although it should not
	Weight   int             `json:"weight"`
	Priority int             `json:"priority"`
	Needs    []pick.RowTrace `json:"needs,omitempty"` // every row it depends on, with the evidence
}

// VirtualServer is a virtual server and its row.
type VirtualServer struct {
	Name      string       `json:"name"`
	Addresses []netip.Addr `json:"addresses"`
	Port      uint16       `json:"port,omitempty"`
	Link      string       `json:"link,omitempty"`
	Site      string       `json:"site,omitempty"`
	Pools     []string     `json:"pools,omitempty"`
	Reported  *Reported    `json:"reported,omitempty"` // none: nobody reported of late
	Serve     *Served      `json:"serve,omitempty"`    // none: others answer there
	Row       status.Row   `json:"row"`
}

// Reported is what a virtual server reports, as long as it counts. What is not
// known is not there.
type Reported struct {
	Connections *float64  `json:"connections,omitempty"`
	Latency     *float64  `json:"latency,omitempty"` // seconds
	At          time.Time `json:"at"`
}

// Site is a site and its row.
type Site struct {
	Name           string     `json:"name"`
	VirtualServers []string   `json:"virtualServers,omitempty"`
	Row            status.Row `json:"row"`
}

// Zone is a zone as it is served.
type Zone struct {
	Name    string    `json:"name"`
	View    string    `json:"view,omitempty"` // that alone sees it
	File    string    `json:"file"`
	Origin  string    `json:"origin"` // configuration, folder, or live: added by command
	Serial  uint32    `json:"serial"`
	Records int       `json:"records"`
	State   string    `json:"state"`           // ZoneOK, ZoneLastGood or ZoneFailed
	Error   string    `json:"error,omitempty"` // what is wrong with the file
	Loaded  time.Time `json:"loaded,omitzero"` // when what is served was read
	Names   []Name    `json:"names,omitempty"` // dynamic names, filled in from the configuration
}

// Label names a zone among the versions of other views: "example.com.", or
// "example.com.@inside" for one that belongs to a view.
func (z *Zone) Label() string { return zoneLabel(z.Name, z.View) }

func zoneLabel(name, view string) string {
	if view == "" {
		return name
	}
	return name + "@" + view
}

// The states of a zone.
const (
	ZoneOK       = "ok"
	ZoneLastGood = "last good" // the file is bad now; its last good version is served
	ZoneFailed   = "failed"    // the file is bad and there is no good version: not served
)

// Name is a dynamic name.
type Name struct {
	Name  string     `json:"name"`
	Pool  string     `json:"pool"`
	TTL   config.TTL `json:"ttl"`
	Group string     `json:"group,omitempty"`
}

// Hold is an operator's word on a row.
type Hold struct {
	ID status.ID `json:"id"`
	status.Hold
}

// HoldRequest asks for a hold.
type HoldRequest struct {
	ID     string `json:"id"`            // virtualServer/web, or web where only one thing is called so
	State  string `json:"state"`         // down, up, drain; empty is down
	Reason string `json:"reason"`        // required, at most 500 bytes on one line
	For    string `json:"for,omitempty"` // how long, "2h"; empty: until released
}

// Held is what became of a hold or a release.
type Held struct {
	Hold
	Warning string `json:"warning,omitempty"` // it is in force, but a restart may forget it
}

// Change is a configuration that should take the place of the one that runs.
type Change struct {
	Base  string            `json:"base"`  // folder that relative references start from, absolute
	Files map[string]string `json:"files"` // by name within Base; one file, or those of a folder
	By    string            `json:"-"`     // who asks, from the socket
}

// Applied is what a change or a reload did.
type Applied struct {
	Changed  bool     `json:"changed"`  // false: what runs was the same already
	Revision string   `json:"revision"` // of what runs now
	Warnings []Detail `json:"warnings,omitempty"`
}

// ExplainQuery asks why a question is answered as it is.
type ExplainQuery struct {
	Name   string
	Type   string       // default A
	Client netip.Addr   // where the query comes from
	ECS    netip.Prefix // with it, if valid
	Down   []status.ID  // as if these rows were down
}

// Description is everything known of one thing.
type Description struct {
	Kind     string          `json:"kind"`
	Name     string          `json:"name"`
	Config   any             `json:"config,omitempty"` // as configured, defaults filled in
	State    any             `json:"state,omitempty"`  // the object as get shows it
	Members  []Member        `json:"members,omitempty"`
	Evidence []probe.History `json:"evidence,omitempty"`
	Events   []status.Event  `json:"events,omitempty"` // of its row, oldest first
}

// ConfigState says which configuration runs.
type ConfigState struct {
	Revision   string    `json:"revision"`
	Loaded     time.Time `json:"loaded"`               // when it was taken into use
	LastGood   bool      `json:"lastGood,omitempty"`   // the file was bad at start: this is the last good one
	LastTry    time.Time `json:"lastTry,omitzero"`     // the last start, reload or apply
	LastFailed string    `json:"lastFailed,omitempty"` // why the last try changed nothing; empty: it succeeded
}

// NotReady is a part that cannot do its work yet, and why.
type NotReady struct {
	Part string `json:"part"`
	Why  string `json:"why"`
}

// Readiness is the answer of /readyz.
type Readiness struct {
	Ready    bool        `json:"ready"`
	NotReady []NotReady  `json:"notReady,omitempty"`
	Config   ConfigState `json:"config"`
}

// DNSStats are the engine's counters since start. Every label comes from the
// configuration or from a fixed list, never from a query.
type DNSStats struct {
	Requests  []RequestCount
	Replies   map[string]uint64 // by rcode, all of them
	Responses []ResponseCount   // those of zones that are served now
	Dropped   map[string]uint64 // by reason
	RRL       map[string]uint64 // of response rate limiting, by what became of the query
	Panics    uint64
	Durations []DurationCount // of answering, shortest first; the last has no bound
	Total     time.Duration   // sum of all durations
	TCP       TCPStats
	Cookies   CookieStats
	Limits    map[string]LimitCount // by key below dns.limits
}

// LimitCount is how a limit of the engine stands: what it is, in things,
// seconds or bytes, and how often it was reached.
type LimitCount struct {
	Value   float64
	Reached uint64
}

// RequestCount counts queries.
type RequestCount struct {
	Proto  string // udp, tcp
	Family string // 1 IPv4, 2 IPv6, as CoreDNS has it
	Type   string // A, AAAA, ...; "other" for what is not on the engine's list
	N      uint64
}

// ResponseCount counts answers. View is empty for zones that belong to none.
type ResponseCount struct {
	Zone, View, Rcode string
	N                 uint64
}

// DurationCount counts answers that took less than Below, and not less than
// the one before.
type DurationCount struct {
	Below time.Duration
	N     uint64
}

// TCPStats counts TCP connections.
type TCPStats struct {
	Open      int
	Accepted  uint64
	Refused   uint64 // closed at once, over the limit of its client or without descriptors
	Displaced uint64 // closed as the longest idle when there were too many
	Failed    uint64 // accept failed
}
