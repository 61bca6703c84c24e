package dnsproxy

import (
	"testing"

	"github.com/miekg/dns"
)

// What cannot be made anew is refused, and the client is told by whom (RFC 8914);
// an opcode is answered NOTIMP where the kernel could not let it pass (TCP).
func TestNotForAProxy(t *testing.T) {
	f := newFake(t)
	w := newWorld(t, []*fake{f}, nil)
	signed := question("www.example.com.", dns.TypeA)
	signed.SetEdns0(1232, false)
	signed.Extra = append(signed.Extra, &dns.SIG{RRSIG: dns.RRSIG{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSIG, Class: dns.ClassANY}, Algorithm: dns.ED25519, SignerName: "key.", Signature: "AAAA"}})
	update := question("example.com.", dns.TypeSOA)
	update.Opcode = dns.OpcodeUpdate
	for _, c := range []struct {
		what  string
		q     *dns.Msg
		rcode int
	}{
		{"signed", signed, dns.RcodeRefused}, {"a transfer", question("example.com.", dns.TypeAXFR).SetEdns0(1232, false), dns.RcodeRefused},
		{"a part of one", question("example.com.", dns.TypeIXFR), dns.RcodeRefused}, {"a key", question("key.", dns.TypeTKEY), dns.RcodeRefused},
		{"an update", update, dns.RcodeNotImplemented},
	} {
		for _, network := range []string{"udp", "tcp"} {
			r := w.ask(network, c.q)
			told := false
			if opt := r.IsEdns0(); opt != nil {
				for _, o := range opt.Option {
					e, ok := o.(*dns.EDNS0_EDE)
					told = told || ok && e.InfoCode == dns.ExtendedErrorCodeProhibited
				}
			}
			if r.Rcode != c.rcode || told != (c.q.IsEdns0() != nil) {
				t.Errorf("%s over %s: %s", c.what, network, r)
			}
		}
	}
	if n := f.asks.Load(); n != 0 {
		t.Errorf("%d queries went out", n)
	}
}
