// Package probe finds out what is alive. It probes targets on a schedule,
// counts rise and fall, and writes rows of status: evidence (probe/TARGET/PROBE)
// and the verdicts that follow from it (virtualServer/X, link/L, site/S and
// pool/P/MEMBER). What is done about a row that is down is for pick.
//
// The way through it:
//
//	config.Model -> Compile -> Plan -> Prober.Want -> one goroutine a check
//	  -> Func (one probe) -> Result -> rise and fall -> status.Board.Update
//
// # A new kind
//
// A kind is one function in one file, one line in the map kinds (kind.go) and
// one test:
//
//  1. Write NAME.go with a function of type [Func]. It makes one attempt,
//     ends when its context does, and says in one sentence what it saw:
//     t.pass(...), t.fail(...), or t.failed(err), which finds the words for
//     network errors. It opens connections by t.dial, so that source address
//     and link pinning hold, and never resolves a name.
//  2. Add its line to kinds, with the port it goes to when none is given.
//  3. Test it against a real server on loopback: what passes, what fails and
//     with which words, and silence (see tcp_test.go).
//
// The word must also be in config/words.go, under "kind"; a test fails until it
// is.
//
// Start reading at [Compile], then [Prober.Want], then schedule.go.
package probe
