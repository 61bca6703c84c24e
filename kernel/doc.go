// Package kernel is the door to Linux' networking. So far it only reads: which
// interfaces there are, with their addresses and the next hops of their default
// routes, what their counters say, and that something of it has changed.
//
// It knows nothing of links, which are what an operator calls a line (package
// link), and keeps no state: who asks compares with what it knew.
//
// Bytes of the kernel are parsed by pure functions in parse.go, which never
// panic, whatever they are given.
//
// Start reading at [Open], then [Reader.Interfaces].
package kernel
