package dnsproxy

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// runFolder is a /run of a test.
type runFolder struct {
	t      *testing.T
	dir    string
	events []status.Event
	turned int
	mu     sync.Mutex
}

func (r *runFolder) write(name, text string) {
	r.t.Helper()
	file := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *runFolder) remove(name string) {
	r.t.Helper()
	if err := os.Remove(filepath.Join(r.dir, name)); err != nil {
		r.t.Fatal(err)
	}
}

// learner follows the servers of one link, telecom over wan1 with index 7; the
// gateway's own address is 10.1.0.1.
func (r *runFolder) learner() *Learner {
	l := NewLearner(LearnerOptions{Run: r.dir, Index: func(name string) int { return map[string]int{"wan1": 7}[name] },
		Own:     func(a netip.Addr) bool { return a == netip.MustParseAddr("10.1.0.1") },
		Changed: func() { r.mu.Lock(); r.turned++; r.mu.Unlock() },
		Record:  func(e status.Event) { r.mu.Lock(); r.events = append(r.events, e); r.mu.Unlock() }})
	return l
}

func (r *runFolder) turns() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.turned
}

func autoModel() *config.Model {
	return &config.Model{Links: []*config.Link{{Name: "telecom", Interface: "wan1"}, {Name: "other", Interface: "wan2"}},
		DNSServers: []*config.DNSServer{{Name: "isp", Auto: true, Link: "telecom"}, {Name: "fixed", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}}
}

func has(t *testing.T, l *Learner, want string) {
	t.Helper()
	if got := strings.TrimPrefix(words(l.Addresses("isp")), "no address"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Each source is read as the programs write it; those of a lower place count
// only for a family that no higher one has.
func TestLearner_Sources(t *testing.T) {
	const lease = "# This is private data. Do not parse.\nADDRESS=192.0.2.7\nROUTER=192.0.2.1\nDNS=192.0.2.53 192.0.2.54\n"
	for _, c := range []struct {
		name   string
		files  map[string]string
		want   string
		source string
	}{
		{"a lease of systemd-networkd", map[string]string{"systemd/netif/leases/7": lease}, "192.0.2.53 192.0.2.54", "networkd lease"},
		{"its state of the interface", map[string]string{"systemd/netif/leases/7": lease, "systemd/netif/links/7": "ADMIN_STATE=configured\nDNS=192.0.2.55 2001:db8::53 [2001:db8::54]:53 9.9.9.9:5353 9.9.9.10#dns.example\n"},
			"192.0.2.55 9.9.9.10 2001:db8::53 2001:db8::54", "networkd"},
		{"of another interface", map[string]string{"systemd/netif/leases/8": lease}, "", ""},
		{"resolved", map[string]string{"systemd/resolve/netif/7": "LLMNR=yes\nSERVERS=192.0.2.60 fe80::1%7\n"}, "192.0.2.60 fe80::1%wan1", "resolved"},
		{"resolvconf", map[string]string{"resolvconf/interface/wan1.dhclient": "search x\nnameserver 192.0.2.70\n", "resolvconf/interface/wan1.100.dhclient": "nameserver 192.0.2.71\n", "resolvconf/interface/wan1.100": "nameserver 192.0.2.72\n", "resolvconf/interface/wan10": "nameserver 192.0.2.73\n"},
			"192.0.2.70", "resolvconf"},
		{"openresolv", map[string]string{"resolvconf/interfaces/wan1": "nameserver 192.0.2.74"}, "192.0.2.74", "resolvconf"},
		{"a hook", map[string]string{"portolan-dns/wan1": "192.0.2.80 # dhclient\n192.0.2.81\n", "systemd/netif/leases/7": lease}, "192.0.2.80 192.0.2.81", "hook"},
		{"by family", map[string]string{"portolan-dns/wan1": "192.0.2.80", "systemd/netif/links/7": "DNS=192.0.2.55 2001:db8::53"}, "192.0.2.80 2001:db8::53", "hook"},
		{"nobody to ask", map[string]string{"portolan-dns/wan1": "127.0.0.53 0.0.0.0 255.255.255.255 224.0.0.1 ::1 :: ff02::1 10.1.0.1 ::ffff:10.1.0.1 nonsense 240.0.0.1"}, "", ""},
		{"too many", map[string]string{"portolan-dns/wan1": "192.0.2.1 192.0.2.2 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 2001:db8::1"}, "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 2001:db8::1", "hook"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &runFolder{t: t, dir: t.TempDir()}
			for name, text := range c.files {
				r.write(name, text)
			}
			l := r.learner()
			l.Want(autoModel())
			has(t, l, c.want)
			if got := l.Learnt("isp"); len(got) > 0 && got[0].Source != c.source || (len(got) == 0) != (c.want == "") {
				t.Errorf("%+v", got)
			}
			if got := l.Addresses("fixed"); got != nil {
				t.Errorf("a server that is not auto has %v", got)
			}
		})
	}
}

// What a link is given is followed within a second, and what is taken away goes
// at once; each change is told (T42). A pipe or a huge file stops nobody.
func TestLearner_Follows_T42(t *testing.T) {
	r := &runFolder{t: t, dir: t.TempDir()}
	r.write("systemd/netif/leases/7", "DNS=192.0.2.53\n")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := r.learner()
		l.Want(autoModel())
		has(t, l, "192.0.2.53")
		var wg sync.WaitGroup
		wg.Go(func() { _ = l.Run(ctx) })
		step := func(want string, turns int) {
			t.Helper()
			time.Sleep(1100 * time.Millisecond)
			synctest.Wait()
			if has(t, l, want); r.turns() != turns {
				t.Errorf("told %d times, want %d", r.turns(), turns)
			}
		}
		step("192.0.2.53", 0)
		r.write("systemd/netif/leases/7", "DNS=192.0.2.99\n")
		step("192.0.2.99", 1)
		r.remove("systemd/netif/leases/7")
		step("", 2)
		r.write("portolan-dns/wan1", strings.Repeat("# nothing\n", maxLearntFile)+"192.0.2.1")
		step("", 2)
		r.remove("portolan-dns/wan1")
		if err := unix.Mkfifo(filepath.Join(r.dir, "portolan-dns/wan1"), 0o600); err != nil {
			t.Fatal(err)
		}
		step("", 2)
		l.Want(&config.Model{})
		step("", 2)
		cancel()
		wg.Wait()
	})
	var told []string
	for _, e := range r.events {
		told = append(told, fmt.Sprintf("%s: %s -> %s (%s)", e.ID, e.Old, e.New, e.Why))
	}
	want := []string{
		"dnsServer/isp: no address -> 192.0.2.53 (told by networkd lease)",
		"dnsServer/isp: 192.0.2.53 -> 192.0.2.99 (told by networkd lease)",
		"dnsServer/isp: 192.0.2.99 -> no address (nobody tells any DNS server of wan1 now)",
	}
	if !slices.Equal(told, want) {
		t.Errorf("%q", told)
	}
}

// A report goes before all files, for its time; none takes it back.
func TestLearner_Report(t *testing.T) {
	r := &runFolder{t: t, dir: t.TempDir()}
	r.write("portolan-dns/wan1", "192.0.2.80")
	synctest.Test(t, func(t *testing.T) {
		l := r.learner()
		l.Want(autoModel())
		report := func(want string, list ...string) {
			t.Helper()
			var all []netip.Addr
			for _, s := range list {
				all = append(all, netip.MustParseAddr(s))
			}
			if _, err := l.Report("telecom", all, time.Now().Add(time.Minute), "script"); err != nil {
				t.Error(err)
			}
			has(t, l, want)
		}
		report("192.0.2.1 2001:db8::1", "192.0.2.1", "2001:db8::1")
		report("192.0.2.80")
		report("192.0.2.2", "192.0.2.2")
		l.Want(autoModel())
		has(t, l, "192.0.2.2")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { _ = l.Run(ctx) })
		time.Sleep(62 * time.Second)
		synctest.Wait()
		has(t, l, "192.0.2.80")
		cancel()
		wg.Wait()
		for _, bad := range []string{"127.0.0.1", "10.1.0.1", "::", "224.0.0.1"} {
			if _, err := l.Report("telecom", []netip.Addr{netip.MustParseAddr(bad)}, time.Now().Add(time.Minute), "script"); err == nil {
				t.Errorf("%s was taken", bad)
			}
		}
		if _, err := l.Report("other", nil, time.Now(), "script"); err == nil {
			t.Error("a link without a server that is auto took a report")
		}
		has(t, l, "192.0.2.80")
	})
}

// Names of interfaces are no paths.
func TestLearner_Paths(t *testing.T) {
	r := &runFolder{t: t, dir: t.TempDir()}
	r.write("secret", "192.0.2.1")
	m := autoModel()
	m.Links[0].Interface = "../secret"
	l := r.learner()
	l.Want(m)
	has(t, l, "")
}

// Whatever the files hold, few addresses come of them, and none that cannot be
// asked.
func FuzzLearnt(f *testing.F) {
	f.Add("DNS=192.0.2.1 fe80::1%2 127.0.0.1#x [::1]:53\nnameserver 10.1.0.1\n192.0.2.9 # x\nSERVERS=\"1.2.3.4:53\"")
	f.Fuzz(func(t *testing.T, text string) {
		own := netip.MustParseAddr("10.1.0.1")
		list := merge([]sourced{{"a", keyed(text, "DNS")}, {"b", keyed(text, "SERVERS")}, {"c", nameservers(text)}, {"d", plain(text)}}, "wan1",
			func(a netip.Addr) bool { return a == own })
		if len(list) > maxLearnt {
			t.Errorf("%d addresses", len(list))
		}
		for i, h := range list {
			a := h.Addr
			if !a.IsValid() || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() || a == own || a.Is4In6() || a.Zone() != "" && a.Zone() != "wan1" {
				t.Errorf("%s", a)
			}
			if slices.ContainsFunc(list[:i], func(o heard) bool { return o.Addr == a }) {
				t.Errorf("%s twice", a)
			}
		}
	})
}
