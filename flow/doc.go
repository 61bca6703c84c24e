// Package flow tells what becomes of one connection through this machine, for
// portolan explain flow: which of our rules it comes to, in the order of the
// hooks, whoever owns their tables, what is found in maps, which links it may
// take with what share, with which source address and by which route.
//
// The facts come from package kernel, which walks a packet through the tables
// that Linux was given. What chains and sets are for is told by their owners
// ([Names]), since this package knows none of them. Nothing here has an effect.
//
// Start reading at [Explain].
package flow
