// Package link is the operator's links at run time: what flows over them, the
// interface and the next hop that they have now, and whether they are busy.
//
// Four times a second, for all links:
//
//	counters of the kernel ---\
//	SNMP, a Source of its own ---> meter -> rates -> judge -> status.Board.Mark
//	a pushed value -----------/                  \-> status.Board.Measure
//
// and whenever the kernel tells that something changed:
//
//	interfaces -> row interface/NAME, next hop, addresses -> Pin, Owner
//
// Whether a link lives is for probe, which asks its next hop over it; who is
// sent elsewhere because a link is busy is for pick.
//
// # A new kind of meter
//
// A kind is a [Source], in one file, and its line in the map sources.
//
// Start reading at [Links.Want], then tick.go, then meter.go.
package link
