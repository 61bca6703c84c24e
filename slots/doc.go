// Package slots decides who gets new connections when the choice itself is made
// by the kernel: a group of members (the links of a link group, the real servers
// of a server farm) has a table of slots, the kernel draws one of them for a new
// connection, and who stands in it has the connection. The package says, tick by
// tick, who is to stand in which slot, who is alive and who is available.
//
// A tick is a function of what it is given and does no input or output: whoever
// owns the group reads counters, keeps the [State] between ticks and over
// reloads, and tells the kernel what changed. As few slots move as can be.
//
// Who takes part (priority, min, max, spill, busy) is package pick's to say.
// Start reading at [Group.Tick].
package slots
