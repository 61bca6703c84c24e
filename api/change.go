package api

import (
	"io/fs"
	"net/http"
	"path/filepath"
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
	v := r.URL.Query()
	q, err := ParseExplainQuery(v.Get("name"), v.Get("type"), v.Get("client"), v.Get("ecs"), v["down"])
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
