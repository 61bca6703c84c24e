package dnsproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// LearnerOptions is what a [Learner] needs to know. All may be left out.
type LearnerOptions struct {
	Run   string                // where programs keep what they found; default /run
	Index func(name string) int // of an interface, 0: there is none; default what the system says
	Own   func(netip.Addr) bool // whether an address is this machine's

	Changed func()             // called when Addresses tells something else, from Run and Report alone
	Record  func(status.Event) // is told of each change
}

// Learner finds out which DNS servers links were given, for the DNS servers that
// are auto, and follows them (T42). It asks nobody: whoever configures an
// interface writes down what it was given, and we read that each second. Its
// methods may be called from any goroutine.
//
// Sources, the first that has any address of a family counts for it:
//
//	report      told over the API, until its time is over
//	hook        portolan-dns/IFACE: addresses; hooks of dhclient, pppd, NetworkManager and udhcpc
//	networkd    systemd/netif/links/INDEX and leases/INDEX: DNS=
//	resolved    systemd/resolve/netif/INDEX: SERVERS=
//	resolvconf  resolvconf/interface/IFACE.PROGRAM: nameserver
type Learner struct {
	opts LearnerOptions
	now  atomic.Pointer[map[string][]netip.Addr] // by DNS server

	mu      sync.Mutex
	links   map[string]*learning  // of links that have a server that is auto
	servers map[string]string     // those servers, and their links
	told    map[string]toldServer // reports by link
}

// learning is what is known of a link.
type learning struct {
	name, iface string
	heard       []heard
	since       time.Time
}

// toldServer is a report.
type toldServer struct {
	list  []netip.Addr
	until time.Time
	by    string
}

// NewLearner makes a learner that knows of nothing yet.
func NewLearner(o LearnerOptions) *Learner {
	if o.Run == "" {
		o.Run = "/run"
	}
	if o.Index == nil {
		o.Index = func(name string) int {
			if i, err := net.InterfaceByName(name); err == nil {
				return i.Index
			}
			return 0
		}
	}
	l := &Learner{opts: o, told: map[string]toldServer{}}
	l.now.Store(&map[string][]netip.Addr{})
	return l
}

// Addresses gives the addresses that a DNS server has now. It does not wait, and
// what it gives must not be changed.
func (l *Learner) Addresses(server string) []netip.Addr { return (*l.now.Load())[server] }

// Want says which servers there are from now on, and looks at once. Changed is
// not called.
func (l *Learner) Want(m *config.Model) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.links
	l.links, l.servers = map[string]*learning{}, map[string]string{}
	ifaces := map[string]string{}
	for _, link := range m.Links {
		ifaces[link.Name] = link.Interface
	}
	for _, s := range m.DNSServers {
		if !s.Auto || l.links[s.Link] != nil {
			if s.Auto {
				l.servers[s.Name] = s.Link
			}
			continue
		}
		l.servers[s.Name] = s.Link
		k := &learning{name: s.Link, iface: ifaces[s.Link]}
		if old := before[s.Link]; old != nil && old.iface == k.iface {
			k = old
		}
		l.links[s.Link] = k
	}
	maps.DeleteFunc(l.told, func(link string, _ toldServer) bool { return l.links[link] == nil })
	l.look(time.Now())
}

// Run looks each second until ctx ends.
func (l *Learner) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			l.mu.Lock()
			changed := l.look(now)
			l.mu.Unlock()
			if changed && l.opts.Changed != nil {
				l.opts.Changed()
			}
		}
	}
}

// ErrNotAuto says that nobody wants to know the DNS servers of a link.
var ErrNotAuto = errors.New("has no DNS server that is auto")

// Report tells the DNS servers of a link, until a time; none takes back what was
// told before. It gives those that were taken.
func (l *Learner) Report(link string, list []netip.Addr, until time.Time, by string) ([]netip.Addr, error) {
	l.mu.Lock()
	if l.links[link] == nil {
		l.mu.Unlock()
		return nil, fmt.Errorf("link %q %w", link, ErrNotAuto)
	}
	for _, a := range list {
		if !canBeAsked(a.Unmap(), l.opts.Own) {
			l.mu.Unlock()
			return nil, fmt.Errorf("%s cannot be a DNS server beyond a link", a)
		}
	}
	if len(list) == 0 {
		delete(l.told, link)
	} else {
		told := toldServer{until: until, by: by}
		for _, a := range list {
			told.list = append(told.list, a.Unmap().WithZone(""))
		}
		l.told[link] = told
	}
	changed := l.look(time.Now())
	taken := addressesOf(l.links[link].heard)
	l.mu.Unlock()
	if changed && l.opts.Changed != nil {
		l.opts.Changed()
	}
	return taken, nil
}

// look reads all sources and says whether anything has changed. The caller holds
// mu.
func (l *Learner) look(now time.Time) (changed bool) {
	for _, k := range l.links {
		if told, ok := l.told[k.name]; ok && !now.Before(told.until) {
			delete(l.told, k.name)
		}
		list := merge(l.sources(k), k.iface, l.opts.Own)
		if slices.Equal(list, k.heard) {
			continue
		}
		if was, is := addressesOf(k.heard), addressesOf(list); !slices.Equal(was, is) {
			changed, k.since = true, now
			l.record(k, was, is, list)
		}
		k.heard = list
	}
	next := make(map[string][]netip.Addr, len(l.servers))
	for server, link := range l.servers {
		next[server] = addressesOf(l.links[link].heard)
	}
	if !maps.EqualFunc(next, *l.now.Load(), slices.Equal) {
		l.now.Store(&next)
	}
	return changed
}

// record tells of a change of a link's servers.
func (l *Learner) record(k *learning, was, is []netip.Addr, list []heard) {
	if l.opts.Record == nil {
		return
	}
	why := "nobody tells any DNS server of " + k.iface + " now"
	if len(list) > 0 {
		why = "told by " + list[0].Source
	}
	for _, server := range slices.Sorted(maps.Keys(l.servers)) {
		if l.servers[server] == k.name {
			l.opts.Record(status.Event{ID: status.MakeID(status.KindDNSServer, server), Old: words(was), New: words(is), Why: why, By: "auto"})
		}
	}
}

func words(list []netip.Addr) string {
	if len(list) == 0 {
		return "no address"
	}
	var text []string
	for _, a := range list {
		text = append(text, a.String())
	}
	return strings.Join(text, " ")
}

func addressesOf(list []heard) (out []netip.Addr) {
	for _, f := range list {
		out = append(out, f.Addr)
	}
	return out
}

// sources reads what is told of a link, the first source first.
func (l *Learner) sources(k *learning) (list []sourced) {
	add := func(from string, addresses []netip.Addr) {
		if len(addresses) > 0 {
			list = append(list, sourced{from, addresses})
		}
	}
	if told, ok := l.told[k.name]; ok {
		add("report of "+told.by, told.list)
	}
	add("hook", plain(l.read("portolan-dns", k.iface)))
	if index := l.opts.Index(k.iface); index > 0 {
		n := strconv.Itoa(index)
		add("networkd", keyed(l.read("systemd/netif/links", n), "DNS"))
		add("networkd lease", keyed(l.read("systemd/netif/leases", n), "DNS"))
		add("resolved", keyed(l.read("systemd/resolve/netif", n), "SERVERS"))
	}
	for _, folder := range []string{"resolvconf/interface", "resolvconf/interfaces"} { // Debian's, openresolv's
		var all []netip.Addr
		entries, _ := os.ReadDir(filepath.Join(l.opts.Run, folder)) // mostly there is none
		for _, e := range entries {
			if ofInterface(e.Name(), k.iface) {
				all = append(all, nameservers(l.read(folder, e.Name()))...)
			}
		}
		add("resolvconf", all)
	}
	return list
}

// read gives the beginning of a file, "" if there is none that can be read. A
// name that is a path is nobody's.
func (l *Learner) read(folder, name string) string {
	if !filepath.IsLocal(name) || strings.ContainsRune(name, '/') {
		return ""
	}
	f, err := os.OpenFile(filepath.Join(l.opts.Run, folder, name), os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe must not make us wait
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	text, err := io.ReadAll(io.LimitReader(f, maxLearntFile))
	if err != nil {
		return ""
	}
	return string(text)
}

// LearntAddress is an address that a DNS server has learnt.
type LearntAddress struct {
	Address netip.Addr `json:"address"`
	Source  string     `json:"source"`         // who told it
	Since   time.Time  `json:"since,omitzero"` // the link's servers are these
	Until   time.Time  `json:"until,omitzero"` // of a report
}

// Learnt tells what a DNS server has learnt, and from whom.
func (l *Learner) Learnt(server string) (list []LearntAddress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.links[l.servers[server]]
	if k == nil {
		return nil
	}
	for _, f := range k.heard {
		x := LearntAddress{Address: f.Addr, Source: f.Source, Since: k.since}
		if told, ok := l.told[k.name]; ok && strings.HasPrefix(f.Source, "report") {
			x.Until = told.until
		}
		list = append(list, x)
	}
	return list
}
