// Package kernel is the door to Linux' networking, to read and to change it.
//
// A [Reader] tells which interfaces there are, with their addresses and the next
// hops of their default routes, what their counters say, and that something of
// it has changed. It keeps no state: who asks compares with what it knew.
// [Conntrack] and [Live] are the same for the sessions that Linux tracks.
//
// A [Kernel] is told what should be ([Wishes]) by its owners, makes Linux so and
// keeps it so. What it puts there is told by names and numbers of our own
// (owner.go); it never touches anything else, and leaves it standing when it ends.
// [Ours] tells all of it, [Clean] removes it.
//
// It knows nothing of links, which are what an operator calls a line (package
// link).
//
// Bytes of the kernel are parsed by pure functions, which never panic, whatever
// they are given.
//
// Start reading at words.go, then kernel.go.
package kernel
