package nettest

import (
	"net"
	"testing"
)

// Two spaces with a cable reach each other and nothing else; the test's own
// network sees neither.
func TestCable_Root(t *testing.T) {
	a, b := New(t), New(t)
	a.Cable("eth0", b, "eth7")
	a.IP("addr add 192.0.2.1/24 dev eth0")
	b.IP("addr add 192.0.2.2/24 dev eth7")
	names := func(s *Space) (names []string) {
		s.Do(func() {
			all, err := net.Interfaces()
			if err != nil {
				t.Error(err)
			}
			for _, i := range all {
				names = append(names, i.Name)
			}
		})
		return names
	}
	if got := names(a); len(got) != 2 || got[0] != "lo" || got[1] != "eth0" {
		t.Errorf("a has %v", got)
	}
	if got := names(b); len(got) != 2 || got[1] != "eth7" {
		t.Errorf("b has %v", got)
	}
	var l net.Listener
	var err error
	b.Do(func() { l, err = net.Listen("tcp", "192.0.2.2:80") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := func() error {
		c, err := net.Dial("tcp", "192.0.2.2:80")
		if err == nil {
			c.Close()
		}
		return err
	}
	a.Do(func() { err = dial() })
	if err != nil {
		t.Errorf("over the cable: %v", err)
	}
	a.IP("link set eth0 down")
	a.Do(func() { err = dial() })
	if err == nil {
		t.Error("connected without a cable")
	}
}

func TestSet_Root(t *testing.T) {
	a := New(t)
	a.Set("ipv4/icmp_echo_ignore_all", "1")
	a.Do(func() {
		if _, err := net.Dial("tcp", "192.0.2.2:80"); err == nil {
			t.Error("an empty network has a route")
		}
	})
}
