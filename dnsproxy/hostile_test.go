package dnsproxy

import (
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// wrong answers come before the good one. Whatever they are, the client gets
// the good one (TuDoor; reliability 2.1: spoofing).
var hostile = []struct {
	name  string
	first func(f *fake, w func([]byte), q *dns.Msg, raw []byte)
}{
	{"wrong id", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		m.Id++
		w(pack(m))
	}},
	{"every id but the right one, as far as it goes", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		for i := range uint16(200) {
			m := bad(q)
			m.Id = q.Id + 1 + i
			w(pack(m))
		}
	}},
	{"another name", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		m.Question[0].Name = "other.example."
		w(pack(m))
	}},
	{"another type", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		m.Question[0].Qtype = dns.TypeAAAA
		w(pack(m))
	}},
	{"another class", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		m.Question[0].Qclass = dns.ClassCHAOS
		w(pack(m))
	}},
	{"other letters", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		m.Question[0].Name = strings.ToLower(q.Question[0].Name)
		if m.Question[0].Name == q.Question[0].Name {
			m.Question[0].Name = strings.ToUpper(q.Question[0].Name)
		}
		w(pack(m))
	}},
	{"no question", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		m.Question = nil
		w(pack(m))
	}},
	{"two questions", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		m.Question = append(m.Question, m.Question[0])
		w(pack(m))
	}},
	{"a query", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		m.Response = false
		w(pack(m))
	}},
	{"another opcode", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		m.Opcode = dns.OpcodeUpdate
		w(pack(m))
	}},
	{"FORMERR with the question", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := new(dns.Msg)
		m.SetRcode(q, dns.RcodeFormatError)
		w(pack(m))
	}},
	{"FORMERR without a question", func(_ *fake, w func([]byte), q *dns.Msg, raw []byte) {
		w(append(append([]byte{}, raw[:2]...), 0x80, 0x81, 0, 0, 0, 0, 0, 0, 0, 0))
	}},
	{"NOTIMP", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := new(dns.Msg)
		m.SetRcode(q, dns.RcodeNotImplemented)
		w(pack(m))
	}},
	{"truncated", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		m.Truncated = true
		w(pack(m))
	}},
	{"nothing at all", func(_ *fake, w func([]byte), _ *dns.Msg, _ []byte) { w(nil) }},
	{"half a header", func(_ *fake, w func([]byte), _ *dns.Msg, raw []byte) { w(raw[:6]) }},
	{"a header alone", func(_ *fake, w func([]byte), _ *dns.Msg, raw []byte) {
		w(append(append([]byte{}, raw[:2]...), 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0))
	}},
	{"records that are cut off", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		b := pack(bad(q))
		w(b[:len(b)-3])
	}},
	{"counts that cannot be", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		b := pack(bad(q))
		binary.BigEndian.PutUint16(b[6:], 0xffff)
		w(b)
	}},
	{"a loop of pointers", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		m.Answer, m.Extra = nil, nil
		b := pack(m)
		binary.BigEndian.PutUint16(b[6:], 1)
		at := len(b)
		w(append(b, 0xc0|byte(at>>8), byte(at), 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 6, 6, 6, 6))
	}},
	{"too large", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		for range 150 {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}, Txt: []string{strings.Repeat("x", 40)}})
		}
		w(pack(m))
	}},
	{"more records than are taken", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		m.Answer, m.Extra = nil, nil
		b := pack(m)
		binary.BigEndian.PutUint16(b[6:], maxRecords+1)
		for len(b)+11 <= maxUDPAnswer {
			b = append(b, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0)
		}
		w(b)
	}},
	{"a cookie that is not ours", func(_ *fake, w func([]byte), q *dns.Msg, _ []byte) {
		m := bad(q)
		opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		opt.Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}}
		m.Extra = []dns.RR{opt}
		w(pack(m))
	}},
	{"from another port", func(f *fake, _ func([]byte), q *dns.Msg, _ []byte) {
		// Nobody but the server's own socket knows where the query came from; the
		// right address with a wrong port is what a guess would look like.
		if to, ok := f.lastFrom(); ok {
			c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
			if err == nil {
				_, _ = c.Write(pack(bad(q)))
				c.Close()
			}
		}
	}},
}

// bad answers with an address that no client must see.
func bad(q *dns.Msg) *dns.Msg {
	m := good(q)
	m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 300}, A: net.IPv4(6, 6, 6, 6)}}
	return m
}

func TestHostileAnswers_TuDoor(t *testing.T) {
	for _, h := range hostile {
		for _, pace := range []time.Duration{0, 80 * time.Millisecond} { // the good answer at once, or later
			t.Run(h.name+" "+pace.String(), func(t *testing.T) {
				t.Parallel()
				f := newFake(t)
				f.over(func(w func([]byte), q *dns.Msg, raw []byte) {
					h.first(f, w, q, raw)
					if pace == 0 {
						goodAnswer(w, q, raw)
						return
					}
					time.AfterFunc(pace, func() { goodAnswer(w, q, raw) }) // a real server that takes its time
				}, goodAnswer)
				w := newWorld(t, []*fake{f}, func(m *config.Model) { m.DNSProxy.Timeout = config.Duration(2 * time.Second) })
				for range 3 {
					r := w.ask("udp", question("www.Example.com.", dns.TypeA))
					if r.Rcode != dns.RcodeSuccess || address(r) != "192.0.2.1" {
						t.Fatalf("the client got %s %s\n%+v", dns.RcodeToString[r.Rcode], address(r), w.server("s1"))
					}
					if r.Question[0].Name != "www.Example.com." || r.Answer[0].Header().Name != "www.Example.com." {
						t.Errorf("the client sees other letters than it sent: %s", r)
					}
				}
			})
		}
	}
}
