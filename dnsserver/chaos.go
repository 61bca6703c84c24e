package dnsserver

import (
	"strings"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// chaos is what the server says of itself in class CH, by canonical name (RFC
// 4892); nil: nothing.
type chaos map[string]*dns.TXT

func newChaos(c *config.Chaos) chaos {
	names := chaos{}
	for name, text := range map[string]string{
		"version.bind.": c.Version, "version.server.": c.Version,
		"hostname.bind.": c.Identity, "id.server.": c.Identity,
	} {
		if text != "" {
			names[name] = &dns.TXT{
				Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassCHAOS},
				Txt: []string{strings.ReplaceAll(text, `\`, `\\`)}, // miekg/dns reads escapes
			}
		}
	}
	return names
}

// answersChaos says whether a question is one that solveChaos answers. Any
// other in class CH is refused like those in classes that nobody uses, so a
// server that says nothing of itself does not say that it could.
func (q *query) answersChaos() bool {
	return q.qclass == dns.ClassCHAOS && q.table.chaos[q.sname] != nil
}

// solveChaos answers a question about the server itself. The TTL is 0: the next
// server that gets the question is another one (RFC 4892 section 3).
func (q *query) solveChaos() *dns.Msg {
	q.reply.Authoritative = true
	if q.qtype == dns.TypeTXT || q.qtype == dns.TypeANY {
		q.reply.Answer = []dns.RR{named(q.table.chaos[q.sname], q.owner)}
	}
	return q.finish()
}
