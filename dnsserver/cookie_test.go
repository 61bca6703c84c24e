package dnsserver

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

func secretOf(t testing.TB, digits string) cookieKey {
	t.Helper()
	secret, err := hex.DecodeString(digits)
	if err != nil || len(secret) != 16 {
		t.Fatalf("%s: %v", digits, err)
	}
	return makeCookieKey([16]byte(secret))
}

func cookieOf(t testing.TB, digits string) (cookie [cookieSize]byte) {
	t.Helper()
	octets, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	copy(cookie[:], octets)
	return cookie
}

// The vectors of RFC 9018 appendix A: what is asked with, by whom and when, and
// what must be answered.
func TestCookie_RFC9018_AppendixA(t *testing.T) {
	const old, rolled = "dd3bdf9344b678b185a6f5cb60fca715", "445536bcd2513298075a5d379663c962"
	tests := []struct {
		name, secrets string
		source        string
		at            int64
		asked         string
		valid, renews bool
		want          string
	}{
		{"A.1 a new server cookie", "e5e973e5a6b2a43f48e7dc849e37bfcf", "198.51.100.100", 1559731985,
			"2464c4abcf10c957", false, true, "2464c4abcf10c957010000005cf79f111f8130c3eee29480"},
		{"A.2 the same client learns a renewed one", "e5e973e5a6b2a43f48e7dc849e37bfcf", "198.51.100.100", 1559734385,
			"2464c4abcf10c957010000005cf79f111f8130c3eee29480", true, true, "2464c4abcf10c957010000005cf7a871d4a564a1442aca77"},
		{"A.3 another client, reserved octets that are not zero", "e5e973e5a6b2a43f48e7dc849e37bfcf", "203.0.113.203", 1559734700,
			"fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5", false, true, "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e"},
		{"A.4 IPv6, the secret rolled over", rolled + old, "2001:db8:220:1:59de:d0f4:8769:82b8", 1559741961,
			"22681ab97d52c298010000005cf7c57926556bd0934c72f8", true, true, "22681ab97d52c298010000005cf7c609a6bb79d16625507a"},
	}
	for _, test := range tests {
		var keys cookieKeys
		for i := 0; i < len(test.secrets); i += 32 {
			keys = append(keys, secretOf(t, test.secrets[i:i+32]))
		}
		now, source, cookie := time.Unix(test.at, 0), netip.MustParseAddr(test.source), cookieOf(t, test.asked)
		if got := keys.verify(&cookie, source, now); got != test.valid {
			t.Errorf("%s: valid is %v", test.name, got)
		}
		if got := keys.renews(&cookie, source, now); got != test.renews {
			t.Errorf("%s: renews is %v", test.name, got)
		}
		if made := time.Unix(1559727985, 0); test.asked[:2] == "fc" && !keys.verify(&cookie, source, made) {
			t.Errorf("%s: not valid when it was made", test.name)
		}
		keys.sign(&cookie, source, now)
		if got := hex.EncodeToString(cookie[:]); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}

const testSecret = "e5e973e5a6b2a43f48e7dc849e37bfcf"

// cookieTable is answerTable with secrets: the first one signs.
func cookieTable(t testing.TB, secrets ...string) *Table {
	table := answerTable(t)
	set := &secretSet{}
	for _, s := range secrets {
		set.keys = append(set.keys, secretOf(t, s))
	}
	table.cookies = makeSecrets(0, set)
	return table
}

// cookieQuery asks for the address of mail.example.com with a COOKIE option of
// these hexadecimal digits.
func cookieQuery(t testing.TB, cookie string) []byte {
	cookie = strings.ReplaceAll(cookie, " ", "")
	return optQuery(t, "mail.example.com.", fmt.Sprintf("000a%04x", len(cookie)/2)+cookie)
}

// cookieIn gives the cookie of a reply, or "".
func cookieIn(m *dns.Msg) string {
	if m != nil && m.IsEdns0() != nil {
		for _, o := range m.IsEdns0().Option {
			if c, ok := o.(*dns.EDNS0_COOKIE); ok {
				return c.Cookie
			}
		}
	}
	return ""
}

const aClient = "0123456789abcdef"

// learn gives a cookie that the server has made for benchSource now.
func (b *bench) learn() string {
	b.t.Helper()
	cookie := cookieIn(b.unpack(b.send(cookieQuery(b.t, aClient))))
	if len(cookie) != 2*cookieSize || cookie[:16] != aClient {
		b.t.Fatalf("no cookie was given: %q", cookie)
	}
	return cookie
}

// RFC 7873 5.2: what each kind of option is answered, over both transports. A
// cookie that is not valid costs nobody the answer unless the server says so.
func TestCookie_RFC7873_5_2(t *testing.T) {
	const noerror = "NOERROR AA"
	for _, tcp := range []bool{false, true} {
		b := newBench(t, cookieTable(t, testSecret), tcp)
		own := b.learn()
		tests := []struct {
			name, cookie, want, answered string
			state                        cookieState
		}{
			{"5.2.3 a client cookie alone", aClient, noerror, "fresh", cookieClient},
			{"5.2.5 ours", own, noerror, own, cookieValid},
			{"5.2.4 ours with one bit changed", own[:47] + flipped(own[47]), noerror, "fresh", cookieBad},
			{"5.2.4 ours with another client cookie", "1" + own[1:], noerror, "fresh", cookieBad},
			{"5.2.4 another version", otherVersion(t, own), noerror, "fresh", cookieBad},
			{"5.2.4 of 8 octets", own[:32], noerror, "fresh", cookieBad},
			{"5.2.4 of 32 octets, the first 16 ours", own + own[16:], noerror, "fresh", cookieBad},
			{"5.2.2 empty", "", "FORMERR", "", cookieMalformed},
			{"5.2.2 7 octets", own[:14], "FORMERR", "", cookieMalformed},
			{"5.2.2 9 octets", own[:18], "FORMERR", "", cookieMalformed},
			{"5.2.2 15 octets", own[:30], "FORMERR", "", cookieMalformed},
			{"5.2.2 41 octets", own + own[16:] + "00", "FORMERR", "", cookieMalformed},
		}
		for _, test := range tests {
			count := &b.h.count.cookies[test.state]
			before := count.Load()
			m := b.unpack(b.send(cookieQuery(t, test.cookie)))
			if count.Load() != before+1 {
				t.Errorf("%s, tcp %v: not counted as %d", test.name, tcp, test.state)
			}
			head, _, _ := strings.Cut(shown(m), " ANSWER")
			got := cookieIn(m)
			if test.answered == "fresh" {
				// Made within this second, or the one before.
				if len(got) != 48 || got[:16] != test.cookie[:16] || got[16:24] != "01000000" {
					t.Errorf("%s, tcp %v: no fresh cookie: %q", test.name, tcp, got)
				} else if m = b.unpack(b.send(cookieQuery(t, got))); cookieIn(m) != got {
					t.Errorf("%s, tcp %v: the fresh cookie is not valid", test.name, tcp)
				}
			} else if got != test.answered {
				t.Errorf("%s, tcp %v: cookie %q, want %q", test.name, tcp, got, test.answered)
			}
			if head != test.want {
				t.Errorf("%s, tcp %v: %s, want %s", test.name, tcp, head, test.want)
			}
		}
		if m := b.ask(asking("mail.example.com.", dns.TypeA)); m.IsEdns0() != nil {
			t.Errorf("a cookie for nobody: %v", m)
		}
	}
}

// otherVersion gives a cookie a version that is not 1, and a hash that fits.
func otherVersion(t testing.TB, digits string) string {
	cookie := cookieOf(t, digits)
	cookie[8] = 2
	hash := secretOf(t, testSecret).hash(&cookie, benchSource.Addr())
	copy(cookie[16:], hash[:])
	return hex.EncodeToString(cookie[:])
}

func flipped(digit byte) string {
	if digit == '0' {
		return "1"
	}
	return "0"
}

// RFC 7873 5.2: of several options the first one counts.
func TestCookie_RFC7873_FirstOfSeveral(t *testing.T) {
	b := newBench(t, cookieTable(t, testSecret), false)
	m := b.unpack(b.send(optQuery(t, "mail.example.com.", "000a 0008"+aClient+"000a 0003 010203")))
	if got := cookieIn(m); m.Rcode != dns.RcodeSuccess || len(got) != 48 || got[:16] != aClient || len(m.IsEdns0().Option) != 1 {
		t.Error(m)
	}
	if m = b.unpack(b.send(optQuery(t, "mail.example.com.", "000a 0003 010203 000a 0008"+aClient))); m.Rcode != dns.RcodeFormatError {
		t.Error(m)
	}
}

// A cookie is for one address: who sees another's cannot use it.
func TestCookie_BoundToAddress(t *testing.T) {
	b := newBench(t, cookieTable(t, testSecret), false)
	cookie := b.learn()
	for source, want := range map[string]bool{"198.51.100.7": true, "198.51.100.8": false, "2001:db8::7": false, "::ffff:198.51.100.7": true} {
		reply := b.h.handle(cookieQuery(t, cookie), netip.AddrPortFrom(netip.MustParseAddr(source), 53), make([]byte, udpReplySize))
		if got := cookieIn(b.unpack(reply)) == cookie; got != want {
			t.Errorf("%s: valid is %v", source, got)
		}
	}
}

// Where cookies are off an option is unknown, whatever it holds.
func TestCookie_Off(t *testing.T) {
	b := newBench(t, answerTable(t), false)
	for _, cookie := range []string{"", aClient, "01"} {
		if m := b.unpack(b.send(cookieQuery(t, cookie))); m.Rcode != dns.RcodeSuccess || len(m.IsEdns0().Option) > 0 {
			t.Errorf("%q: %v", cookie, m)
		}
	}
	if m := b.unpack(b.send(bare(cookieQuery(t, aClient)))); m.Rcode != dns.RcodeFormatError {
		t.Errorf("no question: %v", m)
	}
}

// bare takes the question from a message with one.
func bare(packet []byte) []byte {
	end := skipName(packet, headerSize) + 4
	out := append(append([]byte(nil), packet[:headerSize]...), packet[end:]...)
	out[5] = 0
	return out
}

// RFC 7873 5.4: a query without a question asks for a server cookie.
func TestCookie_RFC7873_5_4_NoQuestion(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		b := newBench(t, cookieTable(t, testSecret), tcp)
		own := b.learn()
		for _, test := range []struct {
			name, cookie string
			rcode        int
			cookies      bool
		}{
			{"to learn one", aClient, dns.RcodeSuccess, true},
			{"to confirm one", own, dns.RcodeSuccess, true},
			{"to replace one", own[:47] + flipped(own[47]), dns.RcodeBadCookie, true},
			{"malformed", own[:20], dns.RcodeFormatError, false},
		} {
			packet := bare(cookieQuery(t, test.cookie))
			m := b.unpack(b.send(packet))
			if m.Rcode != test.rcode || len(m.Question)+len(m.Answer)+len(m.Ns) > 0 || m.Authoritative || (cookieIn(m) != "") != test.cookies {
				t.Errorf("%s, tcp %v: %v", test.name, tcp, m)
			}
			packet[2] |= dns.OpcodeNotify << 3
			if m = b.unpack(b.send(packet)); m.Rcode != dns.RcodeNotImplemented {
				t.Errorf("%s, tcp %v: NOTIFY: %v", test.name, tcp, m)
			}
		}
		with := new(dns.Msg)
		with.Answer = addressRecords("x.", addrs("192.0.2.1"), 1)
		with.SetEdns0(1232, false)
		with.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: own}}
		if m := b.ask(with); m.Rcode != dns.RcodeFormatError || cookieIn(m) != own {
			t.Errorf("with a record, tcp %v: %v", tcp, m)
		}
		if m := b.unpack(b.send(bare(optQuery(t, "mail.example.com.", "")))); m.Rcode != dns.RcodeFormatError {
			t.Errorf("without a cookie: %v", m)
		}
	}
}

// Who may not ask gets no cookie without a question either.
func TestCookie_NoQuestion_Refused(t *testing.T) {
	table := cookieTable(t, testSecret)
	for _, cookie := range []string{aClient, aClient + aClient} {
		q := parseQuery(bare(cookieQuery(t, cookie)), benchSource.Addr(), table, false).at(time.Now(), nil)
		q.ruling = refused
		if q.checkCookie(table); q.ruling != refused {
			t.Errorf("%s: ruling %d", cookie, q.ruling)
		}
	}
}

// BADVERS says nothing of options: another version may mean anything by them.
func TestCookie_OtherVersion(t *testing.T) {
	b := newBench(t, cookieTable(t, testSecret), false)
	for _, cookie := range []string{"010203", aClient, aClient + aClient} {
		packet := cookieQuery(t, cookie)
		packet[len(packet)-4-len(cookie)/2-5] = 1
		for _, packet := range [][]byte{packet, bare(packet)} {
			if m := b.unpack(b.send(packet)); m.Rcode != dns.RcodeBadVers || len(m.IsEdns0().Option) > 0 {
				t.Error(m)
			}
		}
	}
}

// RFC 9018 4.3: an hour back, five minutes ahead, renewed after half an hour.
func TestCookie_RFC9018_4_3_Times(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, cookieTable(t, testSecret), false)
		made := time.Now()
		own := b.learn()
		for _, test := range []struct {
			age         time.Duration
			valid, same bool
		}{
			{0, true, true},
			{30 * time.Minute, true, true},
			{30*time.Minute + time.Second, true, false},
			{time.Hour, true, false},
			{time.Hour + time.Second, false, false},
		} {
			time.Sleep(time.Until(made.Add(test.age)))
			before := b.h.count.cookies[cookieValid].Load()
			got := cookieIn(b.unpack(b.send(cookieQuery(t, own))))
			if valid := b.h.count.cookies[cookieValid].Load() > before; valid != test.valid || (got == own) != test.same {
				t.Errorf("after %s: valid %v, answered %s", test.age, valid, got)
			}
		}
	})
	keys, source, now := cookieKeys{secretOf(t, testSecret)}, netip.MustParseAddr("192.0.2.1"), time.Unix(1<<32-100, 0)
	for _, test := range []struct {
		age  time.Duration
		want bool
	}{
		{-5 * time.Minute, true}, {-5*time.Minute - time.Second, false}, // across 2106 too
		{time.Hour, true}, {time.Hour + time.Second, false},
		{1 << 31 * time.Second, false}, {(1<<32 - 600) * time.Second, false},
	} {
		cookie := cookieOf(t, aClient)
		keys.sign(&cookie, source, now.Add(-test.age))
		if keys.verify(&cookie, source, now) != test.want {
			t.Errorf("%s old: want %v", test.age, test.want)
		}
	}
}
