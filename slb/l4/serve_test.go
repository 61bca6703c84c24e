package l4

import (
	"strings"
	"testing"
)

// A connection to a virtual server goes to one of its servers, of the family of
// the client; anything else is not touched (FAQ 1.1.1).
func TestServe(t *testing.T) {
	b := newBalancer(t, simple)
	got := b.shares("192.0.2.5:1000 > 203.0.113.10:80/tcp")
	for _, want := range []string{"10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"} {
		if got[want] < 0.3 || got[want] > 0.36 {
			t.Errorf("%s has %.2f of %v", want, got[want], got)
		}
	}
	for text, want := range map[string]string{
		"[2001:db8:9::1]:1000 > [2001:db8::10]:80/tcp": "[fd01::1]:8080",
		"192.0.2.5:1000 > 203.0.113.10:81/tcp":         "-",
		"192.0.2.5:1000 > 203.0.113.10:80/udp":         "-",
		"192.0.2.5:1000 > 203.0.113.11:80/tcp":         "-",
		"192.0.2.5 > 203.0.113.10/icmp":                "-",
	} {
		if got := b.send(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// A mode that is not served yet is told, and its connections go nowhere.
func TestServe_NotYet(t *testing.T) {
	text := strings.Replace(strings.Replace(simple, "- name: web\n", "- name: web\n    mode: routed\n", 1), ", port: 8080", "", -1)
	_, errs := Compile(inputs(t, load(t, text), nil))
	if errs.Failed() || !strings.Contains(errs.Error(), "serverFarms[0].mode: mode routed is not served yet") {
		t.Errorf("%v", errs)
	}
	if got := newBalancer(t, text).send("192.0.2.5:1000 > 203.0.113.10:80/tcp"); got != "drop" {
		t.Error(got)
	}
}
