package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/proximity"
)

// Proximity is the table of measured distances. Its methods wait for no
// measurement.
type Proximity interface {
	// List gives entries, and after which one to go on; that is not valid after
	// the last.
	List(q proximity.Query) (entries []proximity.Entry, next netip.Prefix)

	// Why says how the table stands with a client, or with the zero Addr why
	// nothing in it counts: empty where something does.
	Why(client netip.Addr) string

	// Clear forgets the entries inside a network, or all with the zero Prefix.
	Clear(network netip.Prefix, who, why string) int

	Stats() ProximityStats
}

// ProximityList is a part of the table.
type ProximityList struct {
	Why     string            `json:"why,omitempty"` // about the client that was asked for; else why nothing counts
	Entries []proximity.Entry `json:"entries"`
	Next    netip.Prefix      `json:"next,omitzero"` // for ?after=; none after the last
}

// ProximityStats are the counters of the table, of who measures and of what is
// seen on clients' connections. All are since the start.
type ProximityStats struct {
	Why     string                 `json:"why,omitempty"` // why nothing counts
	Table   proximity.TableStats   `json:"table"`
	Probes  proximity.ProbeStats   `json:"probes"`
	Passive proximity.PassiveStats `json:"passive"`

	// Connections counts clients' TCP connections by what became of their round
	// trip times: taken, unsure (a SYN cookie was in between), unknown, near (of
	// this machine).
	Connections map[string]uint64 `json:"connections"`
}

// ProximityCleared is what a clearing did.
type ProximityCleared struct {
	Network netip.Prefix `json:"network,omitzero"` // none: all
	Entries int          `json:"entries"`          // forgotten
}

// maxProximity is how many entries one answer has at most.
const maxProximity = 10_000

// proximityStates are what an entry may be.
var proximityStates = []string{proximity.Warming.String(), proximity.Ready.String(), proximity.Off.String(), proximity.Unasked.String(), proximity.NoMethods.String()}

// ParseProximityQuery reads what to list, as people write it.
func ParseProximityQuery(client, state, after string, limit uint64) (q proximity.Query, err error) {
	if client != "" {
		if q.Client, err = netip.ParseAddr(client); err != nil || q.Client.Zone() != "" {
			return q, Errorf(Invalid, "client %q is not an address", client)
		}
		q.Client = q.Client.Unmap()
	}
	if after != "" {
		if q.After, err = netip.ParsePrefix(after); err != nil {
			return q, Errorf(Invalid, "after %q is not a network such as 203.0.113.0/24", after)
		}
	}
	if q.State = state; state != "" && !slices.Contains(proximityStates, state) {
		return q, Errorf(Invalid, "state %q is not one of %s%s", state, strings.Join(proximityStates, ", "), didYouMean(state, proximityStates))
	}
	if limit > maxProximity {
		return q, Errorf(Invalid, "limit %d is more than %d; go on with after", limit, maxProximity)
	}
	q.Limit = int(limit)
	return q, nil
}

func (s *Server) proximity(r *http.Request) (any, error) {
	limit, err := number(r, "limit")
	if err != nil {
		return nil, err
	}
	v := r.URL.Query()
	q, err := ParseProximityQuery(v.Get("client"), v.Get("state"), v.Get("after"), limit)
	if err != nil {
		return nil, err
	}
	l := ProximityList{Why: s.opts.Proximity.Why(q.Client)}
	if l.Entries, l.Next = s.opts.Proximity.List(q); l.Entries == nil {
		l.Entries = []proximity.Entry{}
	}
	return l, nil
}

func (s *Server) proximityStats(*http.Request) (any, error) { return s.opts.Proximity.Stats(), nil }

// clearProximity forgets entries: those inside ?network=, or with ?all=true all.
func (s *Server) clearProximity(r *http.Request) (any, error) {
	v := r.URL.Query()
	network, err := ParseProximityNetwork(v.Get("network"), v.Get("all") == "true")
	if err != nil {
		return nil, err
	}
	reason := v.Get("reason")
	if err := goodReason(reason); err != nil {
		return nil, err
	}
	return ProximityCleared{network, s.opts.Proximity.Clear(network, who(r.Context()), reason)}, nil
}

// ParseProximityNetwork reads what to clear: a network, an address, or all. A
// network with bits beyond its length is refused: it may be a slip.
func ParseProximityNetwork(text string, all bool) (n netip.Prefix, err error) {
	switch {
	case all && text == "":
		return n, nil
	case all:
		return n, Errorf(Invalid, "all and %q: say one of them", text)
	case text == "":
		return n, Errorf(Invalid, "what to clear is needed: a network, or all")
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	switch n, err = netip.ParsePrefix(text); {
	case err != nil || n.Addr().Is4In6():
		return n, Errorf(Invalid, "%q is not a network such as 203.0.113.0/24", text)
	case n != n.Masked():
		return n, Errorf(Invalid, "%s has bits beyond its length; %s is the network", text, n.Masked())
	}
	return n, nil
}
