// Package dnsserver is the authoritative engine: listeners, zones, answers,
// and names that are bound to pools.
//
// It does not probe, meter or choose by itself: states come from status, the
// choice from pick, the client's class from topology.
//
// Start reading at [Server], then answer.go, which reads like RFC 1034 4.3.2,
// then binding.go for the names that move.
package dnsserver
