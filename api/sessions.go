package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/slb"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// SessionQuery says which sessions are meant. What is left out matches all.
type SessionQuery struct {
	Link                        string
	VirtualServer, Farm, Server string       // Server is the name in Farm
	Client, To                  netip.Prefix // of the first packet, before addresses are translated
	Protocol                    uint8        // IANA's number
	Port                        uint16       // that it goes to
	Limit                       int          // at most so many
}

// ByServer says whether only sessions of virtual servers are meant.
func (q *SessionQuery) ByServer() bool { return q.VirtualServer+q.Farm+q.Server != "" }

// Session is a connection that goes over a link, or to a virtual server that is
// served, or both: it came in by the link.
type Session struct {
	Protocol      string         `json:"protocol"`
	From          netip.AddrPort `json:"from"` // port 0: the protocol has none
	To            netip.AddrPort `json:"to"`
	Link          string         `json:"link,omitempty"`
	VirtualServer string         `json:"virtualServer,omitempty"`
	Farm          string         `json:"farm,omitempty"`
	Server        string         `json:"server,omitempty"` // of the farm
	At            netip.AddrPort `json:"at,omitzero"`      // where the real server answers from
	Source        netip.Addr     `json:"source,omitzero"`  // that it leaves with, if it is translated
	Inbound       bool           `json:"inbound"`          // it came in by the link
	Sticky        bool           `json:"sticky,omitempty"` // persistence gave it its link
	Child         bool           `json:"child,omitempty"`  // of another, as FTP's data connections are

	State   string          `json:"state,omitempty"` // of TCP
	Expires config.Duration `json:"expires"`         // if nothing comes
	Sent    *traffic.Volume `json:"sent,omitempty"`  // with nf_conntrack_acct only
	Replied *traffic.Volume `json:"replied,omitempty"`
}

// SessionList is a part of the sessions.
type SessionList struct {
	Sessions []Session `json:"sessions"`
	More     bool      `json:"more"`            // there are more than the limit
	Error    string    `json:"error,omitempty"` // why it broke off
}

// StickyQuery says which entries of persistence are meant. What is left out
// matches all. Group and Link are of entries of outbound balancing, VirtualServer,
// Farm and Server of those of virtual servers: not both.
type StickyQuery struct {
	Group, Link                 string
	VirtualServer, Farm, Server string
	Client                      netip.Prefix // entries of clients inside it, and of the network around it
}

func (q *StickyQuery) byLink() bool   { return q.Group+q.Link != "" }
func (q *StickyQuery) byServer() bool { return q.VirtualServer+q.Farm+q.Server != "" }

// StickyEntry is a client that keeps its link in a link group, or its server.
type StickyEntry struct {
	Persistence   string          `json:"persistence"`
	Group         string          `json:"group,omitempty"`
	VirtualServer string          `json:"virtualServer,omitempty"` // none: the entry is for all that use the farm
	Client        netip.Prefix    `json:"client,omitzero"`         // none of persistence by destination
	Port          uint16          `json:"port,omitempty"`          // of the client, by source-port
	Destination   netip.Prefix    `json:"destination,omitzero"`
	Link          string          `json:"link,omitempty"` // none: there is none of its number any more
	Farm          string          `json:"farm,omitempty"`
	Server        string          `json:"server,omitempty"` // none: there is none of its number any more
	Expires       config.Duration `json:"expires"`          // unless a new connection renews it
}

// StickyList is a part of the entries of persistence.
type StickyList struct {
	Entries []StickyEntry `json:"entries"`
	More    bool          `json:"more"`
	Error   string        `json:"error,omitempty"`
}

// StickyCleared is what a clearing did.
type StickyCleared struct {
	Entries int `json:"entries"` // forgotten
}

// MaxListed is how many sessions, or entries of persistence, one answer has at
// most, and fewListed without a word.
const (
	MaxListed = 100_000
	fewListed = 1000
)

// maxLooks is how many answers may look through all sessions, or entries, at once:
// a look through a million takes the kernel a second or two.
const maxLooks = 2

// SessionWords is which sessions are meant, as people write it.
type SessionWords struct {
	Link, VirtualServer, Farm string
	Server                    string // FARM/NAME
	Client, To, Protocol      string
	Port, Limit               uint64
}

// Query reads which sessions are meant. Whether there are such things the server
// knows.
func (w SessionWords) Query() (q SessionQuery, err error) {
	q.Link, q.VirtualServer = w.Link, w.VirtualServer
	if q.Farm, q.Server, err = FarmAndServer(w.Farm, w.Server); err != nil {
		return q, err
	}
	if q.Client, err = parseNetwork("client", w.Client); err != nil {
		return q, err
	}
	if q.To, err = parseNetwork("to", w.To); err != nil {
		return q, err
	}
	if q.Protocol, err = parseProtocol(w.Protocol); err != nil {
		return q, err
	}
	if w.Port > 65535 {
		return q, Errorf(Invalid, "port %d is not from 1 to 65535", w.Port)
	}
	q.Port = uint16(w.Port)
	q.Limit, err = parseLimit(w.Limit)
	return q, err
}

// StickyWords is which entries of persistence are meant, as people write it.
type StickyWords struct {
	Group, Link         string
	VirtualServer, Farm string
	Server              string // FARM/NAME
	Client              string
}

// Query reads which entries of persistence are meant.
func (w StickyWords) Query() (q StickyQuery, err error) {
	q.Group, q.Link, q.VirtualServer = w.Group, w.Link, w.VirtualServer
	if q.Farm, q.Server, err = FarmAndServer(w.Farm, w.Server); err != nil {
		return q, err
	}
	if q.byLink() && q.byServer() {
		return q, Errorf(Invalid, "entries are of links (group, link) or of virtual servers (virtualserver, farm, server): ask for one of them")
	}
	q.Client, err = parseNetwork("client", w.Client)
	return q, err
}

// FarmAndServer reads a farm, or FARM/NAME of a server, or both if they agree, and
// gives the farm and the name in it.
func FarmAndServer(farm, text string) (string, string, error) {
	if text == "" {
		return farm, "", nil
	}
	of, server, ok := strings.Cut(text, "/")
	switch {
	case !ok || of == "" || server == "":
		return "", "", Errorf(Invalid, "server %q is not FARM/NAME, such as web/10.0.0.1:8080", text)
	case farm != "" && farm != of:
		return "", "", Errorf(Invalid, "server %q is not of farm %q", text, farm)
	}
	return of, server, nil
}

// parseNetwork reads a network, or an address, or nothing.
func parseNetwork(what, text string) (n netip.Prefix, err error) {
	if text == "" {
		return n, nil
	}
	if n, err = ParseProximityNetwork(text, false); err != nil {
		return n, Errorf(Invalid, "%s: %v", what, err)
	}
	return n, nil
}

func parseProtocol(text string) (uint8, error) {
	if text == "" {
		return 0, nil
	}
	for n := range 256 {
		if kernel.ProtocolName(uint8(n)) == text || strconv.Itoa(n) == text {
			return uint8(n), nil
		}
	}
	return 0, Errorf(Invalid, "protocol %q is not tcp, udp, icmp, icmpv6, ... or a number up to 255", text)
}

func parseLimit(limit uint64) (int, error) {
	switch {
	case limit == 0:
		return fewListed, nil
	case limit > MaxListed:
		return 0, Errorf(Invalid, "limit %d is more than %d; ask for fewer by link or client", limit, MaxListed)
	}
	return int(limit), nil
}

// sessions lists sessions: ?link= ?virtualserver= ?farm= ?server= ?client= ?to=
// ?protocol= ?port= ?limit=.
func (s *Server) sessions(w http.ResponseWriter, r *http.Request) error {
	v, u := s.view(), r.URL.Query()
	limit, err := number(r, "limit")
	if err != nil {
		return err
	}
	port, err := number(r, "port")
	if err != nil {
		return err
	}
	q, err := SessionWords{u.Get("link"), u.Get("virtualserver"), u.Get("farm"), u.Get("server"), u.Get("client"), u.Get("to"), u.Get("protocol"), port, limit}.Query()
	if err != nil {
		return err
	}
	if err := v.tracks(q.Link != "", q.ByServer()); err != nil {
		return err
	}
	if err := v.areThere(q.Link, "", q.VirtualServer, q.Farm, q.Server); err != nil {
		return err
	}
	return stream(s, w, "sessions", q.Limit, func(yield func(Session) bool) error {
		return s.opts.Sessions(r.Context(), q, yield)
	})
}

// tracks says why a node has no connections to show, if it has none: of links, of
// virtual servers, or of either.
func (v view) tracks(links, servers bool) error {
	b, s := v.balances(), v.serves()
	switch {
	case links && b != nil:
		return b
	case servers && s != nil:
		return s
	case b == nil || s == nil:
		return nil
	case v.model.Outbound == nil && v.model.SLB != nil:
		return s
	case v.model.Outbound == nil:
		return Errorf(NotFound, "this node balances no connections: the configuration has no outbound, and no virtual server with serve")
	}
	return b
}

// areThere is an error if one of what is named is not configured.
func (v view) areThere(link, group, virtual, farm, server string) error {
	for _, t := range [...][2]string{{"link", link}, {"linkgroup", group}, {"virtualserver", virtual}, {"serverfarm", farm}} {
		if err := v.thereIs(t[0], t[1]); err != nil {
			return err
		}
	}
	if server == "" {
		return nil
	}
	return v.thereIs("realserver", farm+"/"+server)
}

// sticky lists entries of persistence: ?group= ?link= ?virtualserver= ?farm=
// ?server= ?client= ?limit=.
func (s *Server) sticky(w http.ResponseWriter, r *http.Request) error {
	v := s.view()
	limit, err := number(r, "limit")
	if err != nil {
		return err
	}
	most, err := parseLimit(limit)
	if err != nil {
		return err
	}
	q, err := v.stickyQuery(r)
	if err != nil {
		return err
	}
	return stream(s, w, "entries", most, func(yield func(StickyEntry) bool) error { return v.eachSticky(q, yield) })
}

// eachSticky gives the entries of links, then those of virtual servers.
func (v view) eachSticky(q StickyQuery, yield func(StickyEntry) bool) error {
	on := true
	if !q.byServer() && v.balances() == nil {
		err := v.opts.Outbound.Sticky(outbound.StickyQuery{Group: q.Group, Link: q.Link, Client: q.Client}, func(e outbound.StickyEntry) bool {
			on = yield(StickyEntry{Persistence: e.Persistence, Group: e.Group, Client: e.Client, Destination: e.Destination, Link: e.Link, Expires: e.Expires})
			return on
		})
		if err != nil {
			return err
		}
	}
	if !on || q.byLink() || v.serves() != nil {
		return nil
	}
	return v.opts.SLB.Sticky(q.ofServers(), func(e slb.StickyEntry) bool {
		return yield(StickyEntry{Persistence: e.Persistence, VirtualServer: e.VirtualServer, Client: e.Client, Port: e.Port, Destination: e.Destination,
			Farm: e.Farm, Server: e.Server, Expires: e.Expires})
	})
}

func (q *StickyQuery) ofServers() slb.StickyQuery {
	return slb.StickyQuery{VirtualServer: q.VirtualServer, Farm: q.Farm, Server: q.Server, Client: q.Client}
}

// forget has entries of persistence forgotten, and says how many.
func (v view) forget(q StickyQuery) (n int, err error) {
	if !q.byServer() && v.balances() == nil {
		if n, err = v.opts.Outbound.ClearSticky(outbound.StickyQuery{Group: q.Group, Link: q.Link, Client: q.Client}); err != nil {
			return n, err
		}
	}
	if q.byLink() || v.serves() != nil {
		return n, nil
	}
	more, err := v.opts.SLB.ClearSticky(q.ofServers())
	return n + more, err
}

func (v view) stickyQuery(r *http.Request) (q StickyQuery, err error) {
	u := r.URL.Query()
	if q, err = (StickyWords{u.Get("group"), u.Get("link"), u.Get("virtualserver"), u.Get("farm"), u.Get("server"), u.Get("client")}).Query(); err != nil {
		return q, err
	}
	if err := v.tracks(q.byLink(), q.byServer()); err != nil {
		return q, err
	}
	return q, v.areThere(q.Link, q.Group, q.VirtualServer, q.Farm, q.Server)
}

// kindTexts is what kinds are called in sentences.
var kindTexts = map[string]string{"link": "link", "linkgroup": "link group", "virtualserver": "virtual server", "serverfarm": "server farm", "realserver": "server"}

// thereIs is an error if a thing is named and not configured.
func (v view) thereIs(kind, name string) error {
	if name == "" {
		return nil
	}
	names := v.names(kind)
	if slices.Contains(names, name) {
		return nil
	}
	return v.noSuch(kindTexts[kind], name, names)
}

// clearSticky has entries of persistence forgotten: those of ?group= ?link=
// ?virtualserver= ?farm= ?server= ?client=, or with ?all=true all.
func (s *Server) clearSticky(r *http.Request) (any, error) {
	v := s.view()
	u := r.URL.Query()
	all, reason := u.Get("all") == "true", u.Get("reason")
	some := u.Get("group")+u.Get("link")+u.Get("virtualserver")+u.Get("farm")+u.Get("server")+u.Get("client") != ""
	if err := GoodClearing(some, all); err != nil {
		return nil, err
	}
	if err := goodReason(reason); err != nil {
		return nil, err
	}
	q, err := v.stickyQuery(r)
	if err != nil {
		return nil, err
	}
	n, err := v.forget(q)
	if n > 0 || err == nil {
		s.opts.Board.Record(status.Event{ID: "persistence", New: fmt.Sprintf("%d entries cleared", n), Why: reason, By: who(r.Context())})
	}
	if err != nil {
		return nil, Errorf(Unavailable, "after %d entries: %v", n, err)
	}
	return StickyCleared{n}, nil
}

// GoodClearing refuses to clear by a slip: some are named, or all, not both and
// not neither.
func GoodClearing(some, all bool) error {
	switch {
	case some && all:
		return Errorf(Invalid, "all, or some by group, link, virtual server, farm, server and client: say one of them")
	case !some && !all:
		return Errorf(Invalid, "what to clear is needed: a group, a link, a virtual server, a farm, a server, a client, or all")
	}
	return nil
}
