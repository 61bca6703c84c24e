// Package l4 says what the kernel is to do for the virtual servers of a
// configuration: a handful of rules whose number does not grow with virtual
// servers, farms and real servers, and the maps that they look into.
//
// [Compile] makes a [Plan] of a model and has no effect. The plan's
// [Plan.Wishes] are for package kernel. What changes from one tick to the next,
// who has which slot, who is alive, which farm its backup stands in for, are
// elements of the plan's maps, written by its methods; each gives those that it
// changed, for [kernel.Kernel.Changed].
//
// A packet's way through the rules is drawn in rules.go, which is where to start
// reading.
package l4
