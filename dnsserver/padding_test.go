package dnsserver

import (
	"testing"

	"github.com/miekg/dns"
)

// RFC 7830, RFC 8467: a reply is padded to whole blocks where the client asks
// for it and the transport is encrypted, and nowhere else.
func TestPadding_RFC7830(t *testing.T) {
	table := answerTable(t)
	for _, test := range []struct {
		name             string
		encrypted, asked bool
		limit            int
		want             int // octets; 0: no padding
	}{
		{"plain", false, true, tcpSize, 0},
		{"encrypted, not asked", true, false, tcpSize, 0},
		{"encrypted", true, true, tcpSize, padBlock},
		{"no more than the client takes", true, true, 100, 100},
		{"no room for the option", true, true, 64, 0},
	} {
		options := ""
		if test.asked {
			options = "000c 0003 000000"
		}
		q := parseQuery(optQuery(t, "mail.example.com.", options), benchSource.Addr(), table, true)
		q.encrypted, q.limit = test.encrypted, test.limit
		answer(table, q)
		out, err := q.pack(make([]byte, tcpSize))
		if err != nil {
			t.Fatal(err)
		}
		m := new(dns.Msg)
		if err := m.Unpack(out); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		padded := false
		for _, o := range m.IsEdns0().Option {
			padded = padded || o.Option() == dns.EDNS0PADDING
		}
		if padded != (test.want > 0) || test.want > 0 && len(out) != test.want || len(m.Answer) != 1 {
			t.Errorf("%s: %d octets, padded %v", test.name, len(out), padded)
		}
	}
}
