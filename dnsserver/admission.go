package dnsserver

// ruling is what becomes of a query before anything is looked up.
type ruling uint8

const (
	admitted   ruling = iota
	refused           // REFUSED
	dropped           // no reply
	truncated         // nothing but TC: ask over TCP, which proves the source
	wantCookie        // BADCOOKIE: ask again with the cookie of this reply (RFC 7873 5.2.3)
)

// admit is the one door that the queries of every transport go through (R9).
// What each step finds is kept in the query:
//
//	may this source ask at all?      ACL of the server, the listener, the view
//	is the source proven?            TCP, or a cookie of ours
//	if not: how much has it asked?   response rate limiting
//
// An ACL of a zone is asked when the zone has been found ([query.zoneOf], [query.solveAnswer]). For
// an explanation, which comes through no socket, the gate is nil.
func (q *query) admit(t *Table, g *gate) {
	q.checkCookie(t)
}

// gate is what admission knows of a transport and of the queries before.
type gate struct{}
