package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/status"
)

// SessionQuery says which sessions are meant. What is left out matches all.
type SessionQuery struct {
	Link       string
	Client, To netip.Prefix // of the first packet, before addresses are translated
	Protocol   uint8        // IANA's number
	Port       uint16       // that it goes to
	Limit      int          // at most so many
}

// SessionList is a part of the sessions that go over links.
type SessionList struct {
	Sessions []outbound.Session `json:"sessions"`
	More     bool               `json:"more"`            // there are more than the limit
	Error    string             `json:"error,omitempty"` // why it broke off
}

// StickyList is a part of the entries of persistence.
type StickyList struct {
	Entries []outbound.StickyEntry `json:"entries"`
	More    bool                   `json:"more"`
	Error   string                 `json:"error,omitempty"`
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

// ParseSessionQuery reads which sessions are meant, as people write it. Whether
// there is such a link the server knows.
func ParseSessionQuery(link, client, to, protocol string, port, limit uint64) (q SessionQuery, err error) {
	q.Link = link
	if q.Client, err = parseNetwork("client", client); err != nil {
		return q, err
	}
	if q.To, err = parseNetwork("to", to); err != nil {
		return q, err
	}
	if q.Protocol, err = parseProtocol(protocol); err != nil {
		return q, err
	}
	if port > 65535 {
		return q, Errorf(Invalid, "port %d is not from 1 to 65535", port)
	}
	q.Port = uint16(port)
	q.Limit, err = parseLimit(limit)
	return q, err
}

// ParseStickyQuery reads which entries of persistence are meant.
func ParseStickyQuery(group, link, client string) (q outbound.StickyQuery, err error) {
	q.Group, q.Link = group, link
	q.Client, err = parseNetwork("client", client)
	return q, err
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

// sessions lists sessions: ?link= ?client= ?to= ?protocol= ?port= ?limit=.
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
	q, err := ParseSessionQuery(u.Get("link"), u.Get("client"), u.Get("to"), u.Get("protocol"), port, limit)
	if err != nil {
		return err
	}
	if err := v.balances(); err != nil {
		return err
	}
	if err := v.thereIs("link", q.Link); err != nil {
		return err
	}
	return stream(s, w, "sessions", q.Limit, func(yield func(outbound.Session) bool) error {
		return s.opts.Outbound.Sessions(r.Context(), q, yield)
	})
}

// sticky lists entries of persistence: ?group= ?link= ?client= ?limit=.
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
	return stream(s, w, "entries", most, func(yield func(outbound.StickyEntry) bool) error { return s.opts.Outbound.Sticky(q, yield) })
}

func (v view) stickyQuery(r *http.Request) (q outbound.StickyQuery, err error) {
	u := r.URL.Query()
	if q, err = ParseStickyQuery(u.Get("group"), u.Get("link"), u.Get("client")); err != nil {
		return q, err
	}
	if err := v.balances(); err != nil {
		return q, err
	}
	if err := v.thereIs("link", q.Link); err != nil {
		return q, err
	}
	return q, v.thereIs("linkgroup", q.Group)
}

// thereIs is an error if a thing is named and not configured.
func (v view) thereIs(kind, name string) error {
	names := v.names(kind)
	for _, n := range names {
		if n == name {
			return nil
		}
	}
	if name == "" {
		return nil
	}
	return v.noSuch(map[string]string{"link": "link", "linkgroup": "link group"}[kind], name, names)
}

// clearSticky has entries of persistence forgotten: those of ?group= ?link=
// ?client=, or with ?all=true all.
func (s *Server) clearSticky(r *http.Request) (any, error) {
	v := s.view()
	u := r.URL.Query()
	all, reason := u.Get("all") == "true", u.Get("reason")
	some := u.Get("group")+u.Get("link")+u.Get("client") != ""
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
	n, err := s.opts.Outbound.ClearSticky(q)
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
		return Errorf(Invalid, "all, or some by group, link and client: say one of them")
	case !some && !all:
		return Errorf(Invalid, "what to clear is needed: a group, a link, a client, or all")
	}
	return nil
}

// streamer is an endpoint that writes its answer by itself, as it goes. An error
// that it gives is told; then it must have written nothing.
type streamer func(w http.ResponseWriter, r *http.Request) error

func (s *Server) stream(e streamer) http.Handler {
	return s.admit(s.slots, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := e(w, r); err != nil {
			s.fail(w, r, err)
		}
	}))
}

// stream writes {"KEY": [...], "more": false} as the things come: what they are
// together never has to be in memory. Of an error that comes after the first
// thing the answer tells.
func stream[T any](s *Server, w http.ResponseWriter, key string, most int, each func(yield func(T) bool) error) error {
	select {
	case s.looks <- struct{}{}:
		defer func() { <-s.looks }()
	default:
		return Errorf(Overloaded, "%d such questions are being answered already; try again", maxLooks)
	}
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(w, 64<<10)
	n, more := 0, false
	var broke error
	err := each(func(thing T) bool {
		if more = n == most; more {
			return false
		}
		text, err := json.Marshal(thing)
		if err == nil {
			_, err = fmt.Fprintf(out, "%s%s", separator(key, n), text)
		}
		n++
		broke = err // nobody listens any more
		return err == nil
	})
	if err != nil && n == 0 {
		return Errorf(Unavailable, "%v", err)
	}
	end := SessionList{More: more}
	if err != nil {
		end.Error = err.Error()
	}
	if broke != nil {
		s.opts.Log.Debug("api answer not delivered", "error", broke)
		return nil
	}
	if n == 0 {
		_, _ = out.WriteString(separator(key, 0)) // errors stay until Flush
	}
	reason, _ := json.Marshal(end.Error) // a text always marshals
	_, _ = fmt.Fprintf(out, `],"more":%t`, more)
	if end.Error != "" {
		_, _ = fmt.Fprintf(out, `,"error":%s`, reason)
	}
	_, _ = out.WriteString("}\n")
	if err := out.Flush(); err != nil {
		s.opts.Log.Debug("api answer not delivered", "error", err)
	}
	return nil
}

// separator is what stands before the nth thing of a list.
func separator(key string, n int) string {
	if n == 0 {
		return fmt.Sprintf("{%q:[", key)
	}
	return ","
}
