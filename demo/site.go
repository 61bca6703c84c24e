package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// port is where every site serves; the sample configuration names it too.
const port = 5380

// site is a pretend data centre: one HTTP server on an address of its own.
type site struct {
	name    string
	address string
	stopped atomic.Bool
}

func sites() []*site {
	return []*site{{name: "east", address: "127.0.0.11"}, {name: "west", address: "127.0.0.12"}, {name: "north", address: "127.0.0.13"}}
}

// run serves until ctx ends.
func (s *site) run(ctx context.Context) error {
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", s.address, port))
	if err != nil {
		return fmt.Errorf("site %s: %w", s.name, err)
	}
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: time.Second}
	done := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer done()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("site %s: %w", s.name, err)
	}
	return nil
}

func (s *site) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if s.stopped.Load() {
			http.Error(w, "stopped", http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "this is site %s\n", s.name)
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) { s.set(w, true) })
	mux.HandleFunc("POST /start", func(w http.ResponseWriter, _ *http.Request) { s.set(w, false) })
	return mux
}

func (s *site) set(w http.ResponseWriter, stopped bool) {
	s.stopped.Store(stopped)
	word := "serves"
	if stopped {
		word = "fails its health checks"
	}
	_, _ = fmt.Fprintf(w, "site %s %s now\n", s.name, word)
}

// Switch stops or starts a site of a demo that runs on this machine, and gives
// what the site says.
func Switch(ctx context.Context, name string, stop bool) (string, error) {
	verb := "start"
	if stop {
		verb = "stop"
	}
	for _, s := range sites() {
		if s.name == name {
			return post(ctx, fmt.Sprintf("http://%s:%d/%s", s.address, port, verb))
		}
	}
	return "", fmt.Errorf("no site %q; there are east, west and north", name)
}
