package api

// CookieStats counts queries by what their COOKIE option proved, and what was
// asked of those that proved nothing.
type CookieStats struct {
	None, Client, Valid, Bad, Malformed uint64

	DemandedCookie uint64 // BADCOOKIE, above dns.cookies.demandAbove
	DemandedTCP    uint64 // TC, above dns.cookies.demandAbove
}

var (
	dnsCookies = counter("dns_cookies_total", "Queries by what their COOKIE option proved: none without one, client with a client cookie alone, valid, bad, malformed.", "outcome")
	dnsDemands = counter("dns_cookie_demands_total", "UDP queries without a valid cookie above dns.cookies.demandAbove, by reply: badcookie or tc.", "reply")
)

func (e emitter) cookies(s CookieStats) {
	e.put(dnsCookies, float64(s.None), "none")
	e.put(dnsCookies, float64(s.Client), "client")
	e.put(dnsCookies, float64(s.Valid), "valid")
	e.put(dnsCookies, float64(s.Bad), "bad")
	e.put(dnsCookies, float64(s.Malformed), "malformed")
	e.put(dnsDemands, float64(s.DemandedCookie), "badcookie")
	e.put(dnsDemands, float64(s.DemandedTCP), "tc")
}
