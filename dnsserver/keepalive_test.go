package dnsserver

import (
	"fmt"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// RFC 7828: the option is answered over TCP to those who send it, with the idle
// time as it is now in tenths of a second (3.4); ignored over UDP (3.3.1); and
// may have no data in a query (3.2.1).
func TestKeepalive_RFC7828(t *testing.T) {
	const none = "none"
	tests := []struct {
		name    string
		tcp     bool
		options []string // data of the options in the query
		busy    bool     // above 80 % of the connections
		rcode   int
		want    string // data of the option in the reply, hexadecimal
	}{
		{name: "over TCP", tcp: true, options: []string{""}, want: "0064"},
		{name: "not asked", tcp: true, want: none},
		{name: "under pressure", tcp: true, options: []string{""}, busy: true, want: "000a"},
		{name: "twice", tcp: true, options: []string{"", ""}, want: "0064"},
		{name: "with a time", tcp: true, options: []string{"\x00\x64"}, rcode: dns.RcodeFormatError, want: none},
		{name: "with anything", tcp: true, options: []string{"", "x"}, rcode: dns.RcodeFormatError, want: none},
		{name: "over UDP", options: []string{""}, want: none},
		{name: "over UDP with a time", options: []string{"\x00\x64"}, want: none},
	}
	for _, test := range tests {
		s := New(Options{})
		s.Use(limited(answerTable(t), func(l *config.Limits) { l.Connections = 10 }))
		if test.busy {
			s.conns.load.Store(9)
		}
		m := asking("mail.example.com.", dns.TypeA)
		m.SetEdns0(1232, false)
		for _, data := range test.options {
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: dns.EDNS0TCPKEEPALIVE, Data: []byte(data)})
		}
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		got := new(dns.Msg)
		if err := got.Unpack(s.newHandler(test.tcp).handle(packet, benchSource, make([]byte, 4096))); err != nil {
			t.Fatal(err)
		}
		said := none
		for _, o := range got.IsEdns0().Option {
			if k, ok := o.(*dns.EDNS0_TCP_KEEPALIVE); ok {
				said = fmt.Sprintf("%04x", k.Timeout)
			}
		}
		if said != test.want || got.Rcode != test.rcode {
			t.Errorf("%s: option %s, %s; want %s, %s", test.name, said, dns.RcodeToString[got.Rcode], test.want, dns.RcodeToString[test.rcode])
		}
	}
}

// A time that 16 bits cannot say is said as the longest that they can.
func TestKeepalive_Longest(t *testing.T) {
	k := keepalive{asked: true, idle: 3 * 3600e9}
	if o := k.option().(*dns.EDNS0_LOCAL); string(o.Data) != "\xff\xff" {
		t.Errorf("%x", o.Data)
	}
}
