// Package convert turns other servers' configurations into ours.
//
// It reads what the other server reads and gives a configuration of ours, the
// zone files that belong to it, and a [Report]: what could not be taken over,
// what is taken over and acts otherwise, each with the place that it comes
// from. It writes nothing and opens nothing on the network. What it gives is
// meant to be read and kept by its owner, so it looks as if written by hand.
//
// [GDNSD] is where to start reading. A vscf file (vscf.go) becomes nodes; each
// resource of a plugin becomes a pool (resource.go and the files of the
// plugins); a map of the geoip plugin becomes regions and topology rules
// (geomap.go); zone files keep their text but for what only gdnsd understands
// (zonefile.go).
package convert
