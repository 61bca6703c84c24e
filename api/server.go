package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// The limits of the door. They are generous for operators and machines and
// small for memory: everything that is read is bounded before it is read.
const (
	maxBody        = 32 << 20 // bytes of a configuration in JSON; config's own bound is 16 MiB of YAML
	maxSmallBody   = 64 << 10 // bytes of any other request
	maxHeader      = 16 << 10 // bytes
	maxConnections = 64
	maxRequests    = 16 // at once on the operators' socket; health checks are not counted
	maxScrapes     = 4  // at once on the monitor's port
	maxFromOne     = 8  // connections to the monitor's port from one client
	maxFiles       = 1000
	maxReason      = 500 // bytes

	headerTimeout  = 5 * time.Second
	readTimeout    = 30 * time.Second
	writeTimeout   = 2 * time.Minute // an apply compiles within this time
	scrapeTimeout  = 15 * time.Second
	idleTimeout    = time.Minute
	askTimeout     = 2 * time.Second // for a request's header on the monitor's port
	restTimeout    = 5 * time.Second // and between two of them
	closingTimeout = 5 * time.Second

	socketMode = 0o660
)

// Server answers the API. Its methods may be called from any goroutine.
type Server struct {
	opts    Options
	handler http.Handler
	slots   places // of the operators' requests
	scrapes places // of those to the monitor's port, which strangers may reach: they take none of the others
	looks   places // of those through all sessions
	panics  atomic.Uint64

	holding sync.Mutex // orders changes of holds, so that what is kept is never older than what is in force
}

// places holds one value for each request that is being answered.
type places chan struct{}

// New gives a server. It listens only in [Server.Run].
func New(opts Options) *Server {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	s := &Server{opts: opts, slots: make(places, maxRequests), scrapes: make(places, maxScrapes), looks: make(places, maxLooks)}
	s.handler = s.routes()
	return s
}

// Handler answers requests as Run does, without a socket and its limits.
func (s *Server) Handler() http.Handler { return s.handler }

// Run serves on a Unix socket until ctx ends. A socket that a dead process
// left behind is replaced; a living one is an error. Requests that are under
// way when ctx ends get a few seconds to finish.
func (s *Server) Run(ctx context.Context, socket string) error {
	l, err := Listen(socket)
	if err != nil {
		return err
	}
	return s.Serve(ctx, l)
}

// Serve is Run on a listener that is open already. It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return s.serveOn(ctx, l, s.handler, patience{headerTimeout, writeTimeout, idleTimeout})
}

// ServeMonitor answers /metrics, /healthz and /readyz, and nothing else, until
// ctx ends: for a port that strangers can reach. It closes the listener.
func (s *Server) ServeMonitor(ctx context.Context, l net.Listener) error {
	return s.serveOn(ctx, shareOut(l, maxFromOne), s.monitor(), patience{askTimeout, scrapeTimeout, restTimeout})
}

// patience is how long clients may take.
type patience struct{ header, write, idle time.Duration }

func (s *Server) serveOn(ctx context.Context, l net.Listener, handler http.Handler, wait patience) error {
	h := &http.Server{
		Handler:           handler,
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(s.opts.Log.Handler(), slog.LevelDebug),
		MaxHeaderBytes:    maxHeader,
		ReadHeaderTimeout: wait.header,
		ReadTimeout:       readTimeout,
		WriteTimeout:      wait.write,
		IdleTimeout:       wait.idle,
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve(limit(l, maxConnections)) }()
	select {
	case err := <-served:
		return fmt.Errorf("api: %w", err)
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closingTimeout)
	defer cancel()
	err := h.Shutdown(closing)
	if err != nil {
		err = errors.Join(fmt.Errorf("api: requests were cut off: %w", err), h.Close())
	}
	<-served
	return err
}
