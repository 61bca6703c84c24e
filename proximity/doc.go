// Package proximity measures how far client networks are over each link, and
// keeps what it found in one table for all pools and link groups (FAQ 1.2.23).
//
//	query ─→ Plan.Look ─→ rank among the candidates                pure, waits for nobody
//	after the answer ─→ Plan.Want ─→ entry made or kept fresh ─→ Ask
//	Ask ─→ queue (known before new) ─→ token bucket of packets
//	   ─→ for each link, if it is ours, usable and not busy: methods in order ─→ Result
//	Result, and samples of clients' own connections ─→ the entry, ranked anew in place
//
// A [Plan] is what a configuration says of proximity, compiled; [Table.Use]
// puts it in force and decides what of the table no longer holds. The measuring
// half is a [Prober]: it is asked for the distance of a network over some links
// and gives a [Result] for each, by the first method that yields. It knows no
// table of distances, and no pool.
//
// Start reading at [Table], then score.go for who is best; for how distance is
// measured at [Prober].
//
// # A new method
//
// A method is one function in one file method_NAME.go, one line in the map
// methods (method.go) and one test:
//
//  1. Write a function of type [Method]. It sends a bounded number of packets,
//     asks [Path.Spend] before each, opens its sockets by the path's Pin, and
//     believes nothing that does not carry what only an answer to it can (T53).
//  2. Add its line to methods.
//  3. Test it against the played internet of internet_test.go.
//
// The word must also be in config/words.go, under "method"; a test fails until
// it is.
package proximity
