package api

import (
	"io/fs"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/portolan-lb/portolan/status"
)

func (s *Server) apply(r *http.Request) (any, error) {
	var c Change
	if err := decode(r, maxBody, &c); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(c.Base) {
		return nil, Errorf(Invalid, "base %q is not an absolute folder", c.Base)
	}
	if len(c.Files) == 0 || len(c.Files) > maxFiles {
		return nil, Errorf(Invalid, "files: %d; there must be from 1 to %d", len(c.Files), maxFiles)
	}
	for name := range c.Files {
		if !fs.ValidPath(name) || name == "." {
			return nil, Errorf(Invalid, "file %q is not a name within base", name)
		}
	}
	c.By = who(r.Context())
	return s.opts.Apply.Apply(r.Context(), c)
}

func (s *Server) reload(r *http.Request) (any, error) {
	return s.opts.Apply.Reload(r.Context(), who(r.Context()))
}

func (s *Server) explain(r *http.Request) (any, error) {
	q, err := explainQuery(r)
	if err != nil {
		return nil, err
	}
	for _, id := range q.Down {
		if _, ok := s.opts.Board.Table().Lookup(id); !ok {
			return nil, Errorf(NotFound, "down %q: there is no such row%s", id, didYouMean(string(id), s.view().holdableWords()))
		}
	}
	return s.opts.Explain.Explain(r.Context(), q)
}

// maxName is the longest a name of 255 octets can be in text, each of them
// written \DDD.
const maxName = 4 * 255

func explainQuery(r *http.Request) (ExplainQuery, error) {
	v := r.URL.Query()
	q := ExplainQuery{Name: v.Get("name"), Type: strings.ToUpper(v.Get("type"))}
	if q.Name == "" || len(q.Name) > maxName {
		return q, Errorf(Invalid, "name %q is not a domain name", q.Name[:min(len(q.Name), 80)])
	}
	if q.Type == "" {
		q.Type = "A"
	}
	var err error
	if q.Client, err = netip.ParseAddr(v.Get("client")); err != nil || q.Client.Zone() != "" {
		return q, Errorf(Invalid, "client %q is not an address", v.Get("client"))
	}
	q.Client = q.Client.Unmap()
	if ecs := v.Get("ecs"); ecs != "" {
		if q.ECS, err = parseECS(ecs); err != nil {
			return q, Errorf(Invalid, "ecs %q is not a prefix such as 203.0.113.0/24", ecs)
		}
	}
	for _, id := range v["down"] {
		if !strings.Contains(id, "/") {
			return q, Errorf(Invalid, "down %q is not a row such as virtualServer/web", id)
		}
		q.Down = append(q.Down, status.ID(id))
	}
	return q, nil
}

// parseECS reads a prefix, or an address as a prefix of its own.
func parseECS(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Prefix(a.BitLen())
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}
