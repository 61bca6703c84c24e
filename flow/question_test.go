package flow

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ from, to, in, want string }{
		{"10.0.0.5", "8.8.8.8:443/tcp", "lan0", "tcp 10.0.0.5:49152 -> 8.8.8.8:443, in by lan0"},
		{"10.0.0.5:40000", "8.8.8.8:53/UDP", "", "udp 10.0.0.5:40000 -> 8.8.8.8:53, of this machine itself"},
		{"10.0.0.5", "8.8.8.8:443", "lan0", "tcp 10.0.0.5:49152 -> 8.8.8.8:443, in by lan0"},
		{"10.0.0.5", "8.8.8.8", "lan0", "icmp 10.0.0.5 -> 8.8.8.8, in by lan0"},
		{"10.0.0.5", "8.8.8.8/47", "lan0", "gre 10.0.0.5 -> 8.8.8.8, in by lan0"},
		{"fd00::5", "2001:db8::1", "lan0", "icmpv6 fd00::5 -> 2001:db8::1, in by lan0"},
		{"[fd00::5]:1", "[2001:db8::1]:443/udp", "lan0", "udp [fd00::5]:1 -> [2001:db8::1]:443, in by lan0"},
		{"[fd00::5]", "[2001:db8::1]/icmp", "lan0", "icmpv6 fd00::5 -> 2001:db8::1, in by lan0"},
		{"::ffff:10.0.0.5", "8.8.8.8:1", "lan0", "tcp 10.0.0.5:49152 -> 8.8.8.8:1, in by lan0"},
	} {
		q, err := Parse(c.from, c.to, c.in)
		if err != nil || q.String() != c.want {
			t.Errorf("%s to %s: %s, %v, want %s", c.from, c.to, q, err, c.want)
		}
		if again, err := Parse(q.FromText(), q.ToText(), q.In); err != nil || again != q {
			t.Errorf("%+v is read again as %+v, %v", q, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ from, to, in, want string }{
		{"10.0.0.5", "2001:db8::1", "lan0", "two families"},
		{"10.0.0.5", "8.8.8.8/tcp", "lan0", "tcp needs a port: --to 8.8.8.8:443/tcp"},
		{"10.0.0.5:1", "8.8.8.8/icmp", "lan0", "icmp has no ports"},
		{"10.0.0.5", "8.8.8.8:1/47", "lan0", "gre has no ports"},
		{"10.0.0.5", "example.com:443", "lan0", `to "example.com:443": not an address`},
		{"10.0.0", "8.8.8.8", "lan0", `from "10.0.0": not an address`},
		{"fe80::1%lan0", "fe80::2", "lan0", "an address with a zone"},
		{"10.0.0.5", "8.8.8.8:443/quic", "lan0", `"quic" is not a protocol`},
		{"10.0.0.5", "8.8.8.8:443/256", "lan0", `"256" is not a protocol`},
		{"10.0.0.5", "8.8.8.8:443", "a-name-that-is-too-long", "not the name of an interface"},
		{"10.0.0.5", "8.8.8.8:443", "../lo", "not the name of an interface"},
	} {
		if q, err := Parse(c.from, c.to, c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %s: %s, error %v, want one with %q", c.from, c.to, q, err, c.want)
		}
	}
}

// Whatever is typed, there is no panic, and what is taken makes sense.
func FuzzParse(f *testing.F) {
	f.Add("10.0.0.5", "8.8.8.8:443/tcp", "lan0")
	f.Add("[::1]:5", "[2001:db8::1]:443/udp", "")
	f.Fuzz(func(t *testing.T, from, to, in string) {
		q, err := Parse(from, to, in)
		if err != nil {
			return
		}
		p := q.Packet()
		if p.Source.Is4() != p.Dest.Is4() || p.Dest.Zone() != "" || len(p.In) > 15 || q.String() == "" {
			t.Errorf("%q to %q: %+v", from, to, q)
		}
		if again, err := Parse(q.FromText(), q.ToText(), q.In); err != nil || again != q {
			t.Errorf("%+v is read again as %+v, %v", q, again, err)
		}
	})
}
