package dnsserver

import (
	"slices"

	"github.com/portolan-lb/portolan/config"
)

// limit is one of dns.limits, to count how often it is reached.
type limit uint8

const (
	limitConnections limit = iota
	limitConnectionsPerClient
	limitQueriesPerConnection
	limitConnectionQueries
	limitConnectionTime
	limitIdleTimeout
	limitWriteTimeout
	limitConnectionBuffer
	limitUDPBuffer
	limitCNAMEChain
	limitAdditionalNames
	limitAdditionalRecords
	limitReferralGlue
	limitZones
	limitZoneRecords
	limitZoneFileSize
	limitZoneEntrySize
	limitZoneSetSize
	limitZoneIncludes
	limitZoneIncludeDepth
	limitZoneGeneratedRecords
	limitZoneNameServers
	limits
)

// limitNames are the keys of [config.Limits.All].
var limitNames = [limits]string{
	"connections", "connectionsPerClient", "queriesPerConnection", "connectionQueries", "connectionTime",
	"idleTimeout", "writeTimeout", "connectionBuffer", "udpBuffer", "cnameChain", "additionalNames", "additionalRecords",
	"referralGlue", "zones", "zone.records", "zone.fileSize", "zone.entrySize", "zone.setSize",
	"zone.includes", "zone.includeDepth", "zone.generatedRecords", "zone.nameServers",
}

// LimitCount is how a limit stands: what it is now, in things, seconds or
// bytes, and how often it was reached.
type LimitCount struct {
	Value   float64
	Reached uint64
}

// limits gives the limits of now.
func (s *Server) limits() *config.Limits { return &s.table.Load().limits }

// reach counts that a limit was reached.
func (s *Server) reach(l limit) { s.reached[l].Add(1) }

// afford bounds TCP connections by the descriptors that there are, and says so
// when that comes to less than dns.limits.connections. Watch calls it.
func (s *Server) afford() {
	others := 0
	if s.opts.Others != nil {
		others = s.opts.Others()
	}
	n, wanted := descriptorsLeft(s.conns.count(), others), s.limits().Connections
	s.conns.affordable.Store(int64(n))
	if short := n < wanted; short != s.short {
		if s.short = short; short {
			s.opts.Log.Warn("fewer TCP connections than dns.limits.connections, for want of descriptors: raise the limit of open files (LimitNOFILE)",
				"connections", n, "wanted", wanted)
		}
	}
}

// exceeded counts the limits that zone files exceeded.
func exceeded(errs config.Errors) (met [limits]uint64) {
	for _, e := range errs {
		if l := slices.Index(limitNames[:], e.Limit); l >= 0 {
			met[l]++
		}
	}
	return met
}

// Exceeded counts the limits that zones exceeded which are in no table.
func (s *Server) Exceeded(errs config.Errors) {
	for l, n := range exceeded(errs) {
		s.reached[l].Add(n)
	}
}

// limitCounts gives every limit by its key.
func (s *Server) limitCounts() map[string]LimitCount {
	counts := make(map[string]LimitCount, limits)
	for name, value := range s.limits().All() {
		counts[name] = LimitCount{Value: value}
	}
	for l, name := range limitNames {
		c := counts[name]
		c.Reached = s.reached[l].Load()
		switch limit(l) { // what the machine allows may be less than what was asked for
		case limitConnections:
			c.Value = float64(s.conns.bound(s.limits()))
		case limitUDPBuffer:
			c.Reached = s.lost.total()
			if n := s.lost.buffer.Load(); n > 0 {
				c.Value = float64(n)
			}
		}
		counts[name] = c
	}
	return counts
}
