// Package figures measures server load balancing for docs/performance.md, by
// make bench-kernel as root: what packets and connections cost beside the same
// machine without it, and beside a rule or a chain for each service; loads and
// changes of 10,000 virtual servers; the program with as many. It has no code but
// benchmarks, whose names end in _Root. Start reading at box_test.go.
package figures
