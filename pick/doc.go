// Package pick answers the one question that all modules ask: which member,
// by preferred, else alternate, else fallback, among those usable and not
// busy, highest priority first, at least min, at most max?
//
// Selection is a pure function of the status table, the client, the draw
// number and what the group was compiled with. [Group.Pick] is one draw from
// [Group.Shares]; explain, plan and kernel tables rest on the same Shares. A
// nil [*Trace] costs nothing, and nothing here has a side effect.
//
// What members are stays with their owner, who numbers them by [Member.Index].
//
// Start reading at [Group], then active.go for who takes part, shed.go
// for whom a member is busy though it is not for others, then algorithms.go
// and, for what looks at live numbers, gauges.go.
//
// # To add an algorithm
//
// Write one function in algorithms.go that gives an [Algorithm], marked [Live] if
// it reads gauges; its word in config/words.go, and in config/slot.go, func
// looksAt, if it may decline; one case with that word in dnsserver/pools.go, func
// algorithm, or live.go; and a row in TestWeights_1_1_15_T27. A test holds the
// words and the cases together.
package pick
