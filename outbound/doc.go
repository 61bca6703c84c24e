// Package outbound makes a machine with several links a gateway: each new
// connection from the inside leaves by a well chosen link. Which virtual server
// and policy rule a connection falls under, and then persistence, proximity and
// the algorithm of a link group, is decided by the kernel, from tables that this
// package keeps filled; so the choice costs nothing to speak of, and goes on
// while the daemon is down.
//
// It does not forward, count or probe: package kernel makes Linux do what is
// wished, packages link and probe write the rows by which links are judged.
//
// What is of no use is not touched: a tick that finds everything as before
// writes nothing, and one that has to move a few connections writes a few slots.
//
// Who has which slot of a link group is package slots' to say, from the [Spec] of
// the group. Start reading at [Compile], which makes the tables, maps and routes
// that hold it; rules_base.go has a picture of a packet's way through them.
package outbound
