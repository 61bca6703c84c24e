// Package busy holds busy protection's two rules, as arithmetic on rates and
// nothing else: who measures is link, who obeys is pick. There is no clock
// here and no memory but what is passed in.
//
// [Rule.Next] says when a link is too loaded to be given anything new, and when
// it may be again (FAQ 1.2.12, 1.2.26):
//
//	rate
//	 ^
//	 |        busy        one direction above its threshold is enough (T20)
//	 |- - - - - - - - - - threshold: maxBandwidth x rate
//	 |   as it was before
//	 |- - - - - - - - - - recovery: maxBandwidth x recovery
//	 |        free        every direction has to be below its recovery
//	 +------------------>
//
// Between the two nothing changes, so that a rate that swings there moves
// nobody (T17). Recovery equal to the threshold is the vendor's older rule (C5).
// Nothing is dropped: what flows goes on flowing (T18).
//
// Start reading at [Rule.Next].
package busy
