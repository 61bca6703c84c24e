package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// A view is hidden by one before it that takes all of its clients over all of
// its listeners, and by no other.
func TestView_Hidden(t *testing.T) {
	for _, tt := range []struct {
		before, view string
		hidden       bool
	}{
		{"clients: [10.0.0.0/8]", "clients: [10.1.0.0/16, 10.2.0.0/16]", true},
		{"clients: [10.0.0.0/8]", "clients: [10.0.0.0/8]", true},
		{"clients: [10.0.0.0/8]", "clients: [10.1.0.0/16, 11.0.0.0/16]", false},
		{"clients: [10.0.0.0/8]", "clients: [11.0.0.0/16, 10.1.0.0/16]", false},
		{"clients: [10.1.0.0/16]", "clients: [10.0.0.0/8]", false},
		{"clients: [10.0.0.0/8]", "acl: {allow: [10.0.0.0/8]}", false},
		{`listeners: ["127.0.0.1:53"]`, "clients: [10.0.0.0/8]", false},
		{`listeners: ["127.0.0.1:53"]`, `clients: [10.0.0.0/8], listeners: ["127.0.0.1:53"]`, true},
		{"acl: {allow: [10.0.0.0/8]}", `clients: [10.0.0.0/8, "2001:db8::/32"]`, true},
		{`clients: [0.0.0.0/0, "::/0"]`, "acl: {allow: [10.0.0.0/8]}", true},
	} {
		text := fmt.Sprintf("version: 1\nviews:\n  - {name: a, %s}\n  - {name: b, %s}\n", tt.before, tt.view)
		m, errs := LoadBytes([]byte(text), Source{FS: fstest.MapFS{}, Dir: ".", Name: "c.yaml"})
		if m == nil {
			t.Fatal(errs)
		}
		if hidden := strings.Contains(fmt.Sprint(errs), "never used"); hidden != tt.hidden {
			t.Errorf("%s before %s: %v", tt.before, tt.view, errs)
		}
	}
}

// Views of very many clients are compared without comparing each with each.
func TestView_ManyClients(t *testing.T) {
	index := &checker{run: &run{}}
	views := [2]*View{{Name: "a"}, {Name: "b"}}
	for i := range 100_000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		views[0].Clients = append(views[0].Clients, p)
	}
	views[1].Clients = append(views[1].Clients, views[0].Clients[1:]...)
	views[1].Clients = append(views[1].Clients, netip.MustParsePrefix("192.0.2.0/24"))
	start := time.Now()
	for _, v := range views {
		index.hidden(v)
	}
	if took := time.Since(start); took > 5*time.Second { // each with each takes a minute
		t.Errorf("%v", took)
	}
}
