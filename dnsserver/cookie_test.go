package dnsserver

import (
	"encoding/hex"
	"net/netip"
	"testing"
	"time"
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
		keys.sign(&cookie, source, now)
		if got := hex.EncodeToString(cookie[:]); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}
