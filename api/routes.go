package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
)

// endpoint answers one request: with what is marshalled to JSON, or an error.
type endpoint func(r *http.Request) (any, error)

// routes is every path there is.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, e := range map[string]endpoint{
		"GET /v1/pools":                     s.pools,
		"GET /v1/members":                   s.members,
		"GET /v1/links":                     s.links,
		"GET /v1/links/{name}":              s.link,
		"GET /v1/linkgroups":                s.linkGroups,
		"GET /v1/outbound":                  s.hits,
		"DELETE /v1/sticky":                 s.clearSticky,
		"GET /v1/snatpools":                 s.snatPools,
		"GET /v1/sites":                     s.sites,
		"GET /v1/probes":                    s.probes,
		"GET /v1/zones":                     s.zones,
		"GET /v1/events":                    s.events,
		"GET /v1/holds":                     s.holds,
		"GET /v1/describe/{kind}/{name...}": s.describe,
		"GET /v1/explain":                   s.explain,
		"GET /v1/explain/flow":              s.explainFlow,
		"GET /v1/dnsservers":                s.dnsServers,
		"GET /v1/dnsproxy":                  s.dnsProxy,
		"GET /v1/explain/dnsproxy":          s.explainDNSProxy,
		"GET /v1/proximity":                 s.proximity,
		"GET /v1/proximity/stats":           s.proximityStats,
		"DELETE /v1/proximity":              s.clearProximity,
		"POST /v1/apply":                    s.apply,
		"POST /v1/reload":                   s.reload,
		"POST /v1/holds":                    s.hold,
		"DELETE /v1/holds/{id...}":          s.release,
		"POST /v1/zones/{name...}":          s.changeZone(AddZone),
		"PUT /v1/zones/{name...}":           s.changeZone(ReplaceZone),
		"DELETE /v1/zones/{name...}":        s.changeZone(RemoveZone),

		"PUT /v1/links/{name}/rate":            s.reportRate,
		"PUT /v1/links/{name}/dns":             s.reportDNS,
		"PUT /v1/virtualservers/{name}/report": s.reportServer,
	} {
		mux.Handle(pattern, s.serve(e))
	}
	mux.Handle("GET /v1/sessions", s.stream(s.sessions))
	mux.Handle("GET /v1/virtualservers", s.stream(s.virtualServers))
	mux.Handle("GET /v1/farms", s.stream(s.farms))
	mux.Handle("GET /v1/realservers", s.stream(s.realServers))
	mux.Handle("GET /v1/slb", s.stream(s.served))
	mux.Handle("GET /v1/sticky", s.stream(s.sticky))
	s.watching(mux, s.slots)
	mux.Handle("/", s.serve(func(r *http.Request) (any, error) { return nil, nothingHere(mux, r) }))
	return s.guard(mux)
}

// monitor is the paths that only tell how things stand.
func (s *Server) monitor() http.Handler {
	mux := http.NewServeMux()
	s.watching(mux, s.scrapes)
	return s.guard(mux)
}

func (s *Server) watching(mux *http.ServeMux, to places) {
	mux.Handle("GET /metrics", s.admit(to, s.metrics()))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
}

// nothingHere tells a path that does not exist from a method that a path does
// not take; the second names those that it takes (RFC 9110, 15.5.6).
func nothingHere(mux *http.ServeMux, r *http.Request) error {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return Errorf(NotFound, "there is no %s %s", r.Method, r.URL.Path)
	}
	err := Errorf(NotAllowed, "%s takes %s, not %s", r.URL.Path, strings.Join(allowed, " and "), r.Method)
	err.allow = strings.Join(allowed, ", ")
	return err
}

// serve turns an endpoint into a handler.
func (s *Server) serve(e endpoint) http.Handler {
	return s.admit(s.slots, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := e(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.reply(w, r, http.StatusOK, v)
	}))
}

// admit bounds how many requests are answered at once.
func (s *Server) admit(to places, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case to <- struct{}{}:
			defer func() { <-to }()
			h.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			s.fail(w, r, Errorf(Overloaded, "%d requests are being answered already; try again", cap(to)))
		}
	})
}

// guard survives a panic in a handler: nothing from the network may stop the
// process.
func (s *Server) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				s.panics.Add(1)
				s.opts.Log.Error("panic in the api", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
				s.fail(w, r, Errorf(Internal, "internal error; the log has the details"))
			}
		}()
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit(r))
		h.ServeHTTP(w, r)
	})
}

// reply writes v. It is marshalled whole before the first byte goes out, so
// that an error can still be told.
func (s *Server) reply(w http.ResponseWriter, r *http.Request, code int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		s.fail(w, r, fmt.Errorf("marshal the answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if _, err := w.Write(append(text, '\n')); err != nil {
		s.opts.Log.Debug("api answer not delivered", "path", r.URL.Path, "error", err)
	}
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := toError(err)
	if e.allow != "" {
		w.Header().Set("Allow", e.allow)
	}
	if e.Kind == Internal {
		s.opts.Log.Error("api request failed", "path", r.URL.Path, "error", err)
	}
	s.reply(w, r, kinds[e.Kind].status, e)
}

// decode reads a JSON body strictly: its type, its size, no unknown keys,
// nothing after it.
func decode(r *http.Request, limit int64, into any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return Errorf(Invalid, "the body must be application/json")
	}
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, limit))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return badBody(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Errorf(Invalid, "the body goes on after its JSON value")
	}
	return nil
}

func badBody(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	return Errorf(Invalid, "the body: %v", err)
}
