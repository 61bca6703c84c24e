package dnsserver

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// twinSipHash is SipHash-2-4 as its paper draws it, a word at a time.
func twinSipHash(key [16]byte, in []byte) uint64 {
	k0, k1 := binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])
	v := [4]uint64{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	half := func(a, b, c, d, s, t int) {
		v[a] += v[b]
		v[c] += v[d]
		v[b] = bits.RotateLeft64(v[b], s) ^ v[a]
		v[d] = bits.RotateLeft64(v[d], t) ^ v[c]
		v[a] = bits.RotateLeft64(v[a], 32)
	}
	rounds := func(n int) {
		for range n {
			half(0, 1, 2, 3, 13, 16)
			half(2, 1, 0, 3, 17, 21)
		}
	}
	padded := append(bytes.Clone(in), make([]byte, 7-len(in)%8)...)
	padded = append(padded, byte(len(in)))
	for ; len(padded) > 0; padded = padded[8:] {
		word := binary.LittleEndian.Uint64(padded)
		v[3] ^= word
		rounds(2)
		v[0] ^= word
	}
	v[2] ^= 0xff
	rounds(4)
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

// twinCookie says what an option proves, from RFC 7873 5.2 and RFC 9018 section
// 4 alone.
func twinCookie(secrets [][16]byte, option []byte, source netip.Addr, now int64) cookieState {
	if len(option) < 8 || len(option) > 8 && len(option) < 16 || len(option) > 40 {
		return cookieMalformed
	}
	if len(option) == 8 {
		return cookieClient
	}
	client, server := option[:8], option[8:]
	if len(server) != 16 || server[0] != 1 {
		return cookieBad
	}
	made := int64(binary.BigEndian.Uint32(server[4:8]))
	near := now&^0xffffffff | made // the moment nearest to now that has these 32 bits
	for near-now > 1<<31-1 {
		near -= 1 << 32
	}
	for now-near > 1<<31 {
		near += 1 << 32
	}
	if now-near > 3600 || near-now > 300 {
		return cookieBad
	}
	for _, secret := range secrets {
		in := append(append(bytes.Clone(client), server[:8]...), source.Unmap().WithZone("").AsSlice()...)
		if bytes.Equal(binary.LittleEndian.AppendUint64(nil, twinSipHash(secret, in)), server[8:]) {
			return cookieValid
		}
	}
	return cookieBad
}

func TestTwinSipHash(t *testing.T) {
	var key [16]byte
	in := make([]byte, 15)
	for i := range key {
		key[i] = byte(i)
	}
	for i := range in {
		in[i] = byte(i)
	}
	if got := twinSipHash(key, in); got != 0xa129ca6149be45e5 { // the vector in the paper's appendix A
		t.Errorf("%x", got)
	}
}

// FuzzCookie asks with any octets from any address at any time, and with
// cookies that were given out and then changed: no panic, a reply that can be
// read, the twin's opinion, and nothing is valid but what was given out, to whom
// it was given and while it lives.
func FuzzCookie(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8}, []byte{198, 51, 100, 7}, int64(1_800_000_000), int64(0), uint8(8), uint8(0))
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8}, []byte{198, 51, 100, 7}, int64(1<<32+100), int64(1900), uint8(24), uint8(0))
	f.Add(make([]byte, 41), netip.IPv6LinkLocalAllNodes().AsSlice(), int64(0), int64(-301), uint8(41), uint8(23))
	f.Add(bytes.Repeat([]byte{1}, 24), []byte("::ffff:192.0.2.1"), int64(-5), int64(3600), uint8(24), uint8(9))
	secrets := [][16]byte{{1, 2, 3}, {15: 9}}
	keys := cookieKeys{makeCookieKey(secrets[0]), makeCookieKey(secrets[1])}
	table := cookieTable(f, testSecret)
	table.cookies.current.Store(&secretSet{keys: keys})
	kept(f)
	f.Fuzz(func(t *testing.T, option, from []byte, seconds, age int64, size, flip uint8) {
		source, ok := netip.AddrFromSlice(from)
		if !ok {
			source = netip.MustParseAddr("2001:db8::1")
		}
		now, age := time.Unix(seconds&(1<<34-1), 0), age%8000
		check := func(option []byte) cookieState {
			q := parseQuery(fuzzCookieQuery(option), source, table, false)
			q.at(now, nil).admit(table, nil)
			if want := twinCookie(secrets, option, source, now.Unix()); q.cookie != want {
				t.Fatalf("%x from %s at %d: %d, the twin says %d", option, source, now.Unix(), q.cookie, want)
			}
			m := answer(table, q)
			packet, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			read := new(dns.Msg)
			if err = read.Unpack(packet); err != nil || (len(cookieIn(read)) == 2*cookieSize) != (q.cookie != cookieMalformed) {
				t.Fatalf("%v: %v", err, read)
			}
			return q.cookie
		}
		check(option)

		var own [cookieSize]byte
		copy(own[:], option)
		keys[int(flip)%2:].sign(&own, source.Unmap().WithZone(""), now.Add(-time.Duration(age)*time.Second))
		if got := check(own[:]); (got == cookieValid) != (age <= 3600 && age >= -300) {
			t.Fatalf("our own, %d seconds old: %d", age, got)
		}
		if int(flip) < cookieSize && size > 0 {
			own[flip] ^= size
			if check(own[:]) == cookieValid {
				t.Fatalf("octet %d was changed by %x and the cookie is still valid", flip, size)
			}
		}
		if int(size) < cookieSize && check(own[:size]) == cookieValid {
			t.Fatalf("%d octets of a cookie are valid", size)
		}
	})
}

// fuzzCookieQuery asks with an option of any length.
func fuzzCookieQuery(option []byte) []byte {
	option = option[:min(len(option), 1000)]
	p, _ := asking("mail.example.com.", dns.TypeA).Pack()
	p[11] = 1
	p = append(p, 0, 0, 41, 0x10, 0, 0, 0, 0, 0)
	p = binary.BigEndian.AppendUint16(p, uint16(4+len(option)))
	p = binary.BigEndian.AppendUint16(p, dns.EDNS0COOKIE)
	p = binary.BigEndian.AppendUint16(p, uint16(len(option)))
	return append(p, option...)
}

// A plain query pays nothing for cookies. One with a cookie pays for the option
// of the reply and the list that it stands in; miekg/dns makes two copies more
// of any option when it packs.
func TestCookie_Allocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	with, without := newBench(t, cookieTable(t, testSecret), false), newBench(t, answerTable(t), false)
	out := make([]byte, udpReplySize)
	count := func(b *bench, packet []byte) float64 {
		return testing.AllocsPerRun(200, func() { b.h.handle(packet, benchSource, out) })
	}
	plain, _ := asking("mail.example.com.", dns.TypeA).Pack()
	edns := optQuery(t, "mail.example.com.", "")
	for _, packet := range [][]byte{plain, edns} {
		if a, b := count(with, packet), count(without, packet); a != b {
			t.Errorf("%v allocations with cookies on, %v with cookies off", a, b)
		}
	}
	base, cookies := count(with, edns), [...]string{aClient, with.learn(), "00" + with.learn()[2:]}
	for _, cookie := range cookies {
		if got := count(with, cookieQuery(t, cookie)); got > base+4 {
			t.Errorf("%q: %v allocations, %v without it", cookie, got, base)
		}
	}
}

func BenchmarkCookie(b *testing.B) {
	bench := newBench(b, cookieTable(b, testSecret), false)
	out := make([]byte, udpReplySize)
	for _, q := range []struct {
		name   string
		packet []byte
	}{{"none", optQuery(b, "mail.example.com.", "")}, {"client", cookieQuery(b, aClient)}, {"valid", cookieQuery(b, bench.learn())}, {"bad", cookieQuery(b, "00"+bench.learn()[2:])}} {
		b.Run(q.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bench.h.handle(q.packet, benchSource, out)
			}
		})
	}
}
