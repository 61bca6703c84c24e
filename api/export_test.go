package api

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// Collector lets tests lint our own metrics, apart from those of Go.
func (s *Server) Collector() prometheus.Collector { return s.collector() }

// The bounds, for tests at their edges.
const (
	MaxRequests    = maxRequests
	MaxScrapes     = maxScrapes
	MaxConnections = maxConnections
	MaxHeader      = maxHeader
	MaxSmallBody   = maxSmallBody
	MaxBody        = maxBody
)

// Monitor is what ServeMonitor answers.
func (s *Server) Monitor() http.Handler { return s.monitor() }
