// Package status is the live table: one row for everything that is probed,
// metered or held.
//
// A [Board] is written by those who find things out (probe, link, slb) and by
// the operator's holds. Readers take one immutable [Table] through one atomic
// load and read it for the whole of a decision; nothing on the read side locks
// or waits. A [Table] is replaced only when a row really changed.
//
// The package does not decide who may be chosen (that is pick) and does not
// say how a row is found (that is probe).
//
// Start reading at [Row], then [Board.Update].
package status
