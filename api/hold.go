package api

import (
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

func (s *Server) hold(r *http.Request) (any, error) {
	var req HoldRequest
	if err := decode(r, maxSmallBody, &req); err != nil {
		return nil, err
	}
	id, err := s.view().holdable(req.ID)
	if err != nil {
		return nil, err
	}
	h, err := req.hold(time.Now())
	if err != nil {
		return nil, err
	}
	h.By = who(r.Context())
	s.holding.Lock()
	defer s.holding.Unlock()
	if err := s.opts.Board.Hold(id, h); err != nil {
		return nil, Errorf(Invalid, "%v", err)
	}
	return Held{Hold{id, h}, s.keepHolds()}, nil
}

// hold checks what is asked for.
func (req HoldRequest) hold(now time.Time) (h status.Hold, err error) {
	h = status.Hold{Reason: req.Reason, At: now.UTC()}
	switch req.State {
	case "", "down", "up", "drain":
		err = h.State.UnmarshalText([]byte(req.State))
	default:
		err = Errorf(Invalid, "state %q is not down, up or drain", req.State)
	}
	if err != nil {
		return h, err
	}
	if err := goodReason(req.Reason); err != nil {
		return h, err
	}
	if req.For != "" {
		d, err := time.ParseDuration(req.For)
		if err != nil || d <= 0 {
			return h, Errorf(Invalid, "for %q is not a time such as 30m or 2h", req.For)
		}
		h.Until = h.At.Add(d)
	}
	return h, nil
}

func goodReason(reason string) error {
	switch {
	case strings.TrimSpace(reason) == "":
		return Errorf(Invalid, "a reason is needed: whoever comes next must know why")
	case len(reason) > maxReason || !utf8.ValidString(reason) || strings.ContainsFunc(reason, func(c rune) bool { return !unicode.IsGraphic(c) }):
		return Errorf(Invalid, "the reason must be one line of at most %d bytes", maxReason)
	}
	return nil
}

func (s *Server) release(r *http.Request) (any, error) {
	// A hold may stand on a thing that has left the configuration since, so
	// the holds themselves are looked at first.
	holds := s.opts.Board.Holds()
	id := status.ID(r.PathValue("id"))
	if _, held := holds[id]; !held {
		found, err := s.view().holdable(string(id))
		if err != nil {
			return nil, err
		}
		id = found
	}
	reason := r.URL.Query().Get("reason")
	if err := goodReason(reason); err != nil {
		return nil, err
	}
	s.holding.Lock()
	defer s.holding.Unlock()
	if !s.opts.Board.Release(id, reason, who(r.Context())) {
		return nil, Errorf(NotFound, "%s is not held", id)
	}
	return Held{Hold{id, holds[id]}, s.keepHolds()}, nil
}

// keepHolds writes what is in force to the store and returns a warning, or
// nothing. The caller holds s.holding.
func (s *Server) keepHolds() string {
	if s.opts.SaveHolds == nil {
		return "there is no state folder: a restart will forget this"
	}
	if err := s.opts.SaveHolds(s.opts.Board.Holds()); err != nil {
		s.opts.Log.Warn("holds could not be saved", "error", err)
		return "a restart may forget this: " + err.Error()
	}
	return ""
}

// holdable finds the row that an operator means: KIND/NAME, or NAME alone
// where only one thing is called so. Holds are on verdicts, not on evidence.
func (v view) holdable(text string) (status.ID, error) {
	kind, name, _ := strings.Cut(text, "/")
	found := slices.DeleteFunc(v.verdicts(), func(id status.ID) bool {
		return id.Name() != text && !(strings.EqualFold(id.Kind(), kind) && id.Name() == name)
	})
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", v.notHoldable(text)
	default:
		return "", Errorf(Invalid, "%q may be %s: say which", text, join(found))
	}
}

func (v view) notHoldable(text string) error {
	if kind, _, _ := strings.Cut(text, "/"); strings.EqualFold(kind, status.KindProbe) {
		return Errorf(Invalid, "%s is evidence; hold what it is evidence of: a virtual server, link, site, farm, DNS server, or member of a pool, link group or farm", text)
	}
	if like := didYouMean(text, v.holdableWords()); like != "" {
		return Errorf(NotFound, "there is no %q that could be held%s", text, like)
	}
	return Errorf(NotFound, "there is no %q that could be held; see get virtualservers, links, sites, members, groups, farms and realservers", text)
}

// holdableWords is how people may write the rows that can be held.
func (v view) holdableWords() []string {
	var words []string
	for _, id := range v.verdicts() {
		words = append(words, string(id), id.Name())
	}
	return words
}

// verdicts gives the rows that can be held: a virtual server, link, site, link
// group, server farm or DNS server everywhere, or a member in one pool, link group
// or farm alone.
func (v view) verdicts() []status.ID {
	var ids []status.ID
	for _, c := range v.model.VirtualServers {
		ids = append(ids, status.MakeID(status.KindVirtualServer, c.Name))
	}
	for _, c := range v.model.Links {
		ids = append(ids, status.MakeID(status.KindLink, c.Name))
	}
	for _, c := range v.model.Sites {
		ids = append(ids, status.MakeID(status.KindSite, c.Name))
	}
	for _, p := range v.model.Pools {
		own := list(p.Members, func(m *config.Member) status.ID {
			return status.MakeID(status.KindPool, p.Name, m.Target())
		})
		ids = append(ids, own...)
	}
	for _, g := range v.model.LinkGroups {
		ids = append(ids, status.MakeID(status.KindLinkGroup, g.Name))
		for _, m := range g.Members {
			ids = append(ids, status.MakeID(status.KindLinkGroup, g.Name, m.Link))
		}
	}
	for _, f := range v.model.ServerFarms {
		ids = append(ids, status.MakeID(status.KindServerFarm, f.Name))
		for _, c := range f.Servers {
			ids = append(ids, status.MakeID(status.KindRealServer, f.Name, c.Name))
		}
	}
	for _, c := range v.model.DNSServers {
		ids = append(ids, status.MakeID(status.KindDNSServer, c.Name))
	}
	return ids
}

func join(ids []status.ID) string {
	return strings.Join(list(ids, func(id status.ID) string { return string(id) }), " or ")
}
