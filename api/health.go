package api

import "net/http"

// healthz says that the process answers; it looks at nothing else, so that it
// cannot hang on anything.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	s.reply(w, r, http.StatusOK, map[string]bool{"alive": true})
}

// readyz is 200 when every part can do its work, else 503 with those that
// cannot.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	missing := s.opts.Ready()
	code := http.StatusOK
	if len(missing) > 0 {
		code = http.StatusServiceUnavailable
	}
	s.reply(w, r, code, Readiness{len(missing) == 0, missing, s.opts.Config()})
}
