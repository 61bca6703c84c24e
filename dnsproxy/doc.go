// Package dnsproxy is the transparent DNS proxy: queries of clients that cross
// the gateway go to the DNS server of a well-chosen link, and the client sees
// the answer come from the address that it asked (FAQ 1.3.1, semantics B.7).
//
//	kernel (TPROXY) ── socket ── query.go: parse ── admission: how much is outstanding?
//	                                                       │
//	                     policy.go: first rule that matches (names, sources)
//	         ┌───────────────────┬─────────────────────────┼──────────────┐
//	       drop                answer                    pass            pool
//	    nothing is sent     the operator's own    the asked address    cache ── hit ──┐
//	                                                       │          │ miss          │
//	                                                       │   persistence, pick:     │
//	                                                       │   a server of a link     │
//	                                                       └────┬─────┘               │
//	                   exchange.go: udp, tcp, tls, https; on failure another link     │
//	                                                            │                     │
//	                answer.go: judged, parsed, rebuilt ── cache ┴── reply.go: to the client,
//	                                                               from the asked address
//
// Nothing that a stranger sent is ever passed on as it came: a message is parsed,
// what does not belong is left out, and what leaves is packed anew. The proxy
// never recurses: one query goes out for one that came in, plus the retries
// that the configuration grants.
//
// It does not probe and does not steer packets: states come from status, the
// choice from pick, the rules that bring packets here from package kernel.
//
// Start reading at [Proxy], then resolve.go for the way of one query.
package dnsproxy
