package kernel

import (
	"os"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

func sysctlOf(t *testing.T, s *nettest.Space, name string) (value string) {
	t.Helper()
	var b []byte
	var err error
	s.Do(func() { b, err = os.ReadFile("/proc/sys/net/" + name) })
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// Acceptance 24: a sysctl that breaks something is reported, and repaired if
// that is allowed.
func TestSysctls_Root(t *testing.T) {
	s := nettest.New(t)
	n := routingIn(t, s)
	w := Sysctl{Name: "ipv4/conf/all/src_valid_mark", Values: []string{"0"}, Why: "packets for the DNS proxy are dropped"}
	wish(t, n, "outbound", &Wishes{Sysctls: []Sysctl{w}}, "")
	s.Set("ipv4/conf/all/src_valid_mark", "1")
	wish(t, n, "outbound", &Wishes{Sysctls: []Sysctl{w}}, "sysctl net.ipv4.conf.all.src_valid_mark is 1, not 0: packets for the DNS proxy are dropped (sysctl -w net.ipv4.conf.all.src_valid_mark=0)")
	if got := sysctlOf(t, s, w.Name); got != "1" {
		t.Errorf("it was set to %s", got)
	}
	w.Repair = true
	wish(t, n, "outbound", &Wishes{Sysctls: []Sysctl{w}}, "")
	if got := sysctlOf(t, s, w.Name); got != "0" {
		t.Errorf("after the repair it is %s", got)
	}
	s.Set("ipv4/conf/all/rp_filter", "2")
	wish(t, n, "outbound", &Wishes{Sysctls: []Sysctl{{Name: "net.ipv4.conf.all.rp_filter", Values: []string{"0", "2"}, Repair: true}}}, "")
	if got := sysctlOf(t, s, "ipv4/conf/all/rp_filter"); got != "2" {
		t.Errorf("a value that will do was changed to %s", got)
	}
	wish(t, n, "outbound", &Wishes{Sysctls: []Sysctl{{Name: "ipv4/nosuch", Values: []string{"0"}}}}, "this kernel has none")
}

func TestSysctlNames(t *testing.T) {
	for name, want := range map[string]struct{ path, dotted string }{
		"ipv4/conf/eth0.100/rp_filter": {"/proc/sys/net/ipv4/conf/eth0.100/rp_filter", "net.ipv4.conf.eth0/100.rp_filter"},
		"net.ipv4.ip_forward":          {"/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"},
		"ipv4.ip_forward":              {"/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"},
		"net/ipv4/ip_forward":          {"/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"},
		"../kernel/hostname":           {"", ""},
		"/etc/passwd":                  {"", ""},
	} {
		s := Sysctl{Name: name}
		path, err := s.path()
		if path != want.path || (err == nil) != (want.path != "") || want.path != "" && s.dotted() != want.dotted {
			t.Errorf("%s: %s %s %v", name, path, s.dotted(), err)
		}
	}
}
