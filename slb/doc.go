// Package slb serves virtual servers: each new connection to one of them goes to
// a well chosen real server of a farm, and stays there. Who gets which is decided
// by the kernel, from the tables of package l4, which this package keeps filled;
// so the choice costs nothing to speak of, and goes on while the daemon is down.
//
// It does not probe: package probe writes the rows by which servers are judged
// (realServer/FARM/NAME). It writes those of farms, of SNAT pools, and of the
// virtual servers themselves, by which answers of the DNS go.
//
// What does not change costs nothing: a farm is looked at when one of its rows
// changed, when it said that it would change by itself, or as often as its
// algorithm has to know what its servers carry. All others rest.
//
// Start reading at [SLB.Prepare] and the turn that it asks for; farm.go has what
// one farm is given, failure.go what becomes of the connections of a server that
// fails.
package slb
