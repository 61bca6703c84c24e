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
// Start reading at [Group], then active.go for who takes part, then
// algorithms.go. A new algorithm is one function there, one name in the
// owner's map and one row in the test table.
package pick
