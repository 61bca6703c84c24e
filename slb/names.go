package slb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// Servers by name follow it: each [resolveEvery] its addresses are asked for. Of
// each family one is taken; one that is still in the answer stays, so that a name
// whose answers turn moves nobody. What cannot be resolved, or has no address any
// more, keeps what was known last.
const (
	resolveEvery   = 30 * time.Second
	resolveTimeout = 5 * time.Second
	resolveAtOnce  = 8 // names
)

// names is what is known of the names of servers.
type names struct {
	slb      *SLB
	resolver Resolver
	kick     chan struct{}

	mu     sync.Mutex
	wanted map[string]bool
	addrs  map[string][2]netip.Addr // by name, of both families
	failed map[string]string        // told
	next   map[string]time.Time
}

func (n *names) init(s *SLB, r Resolver) {
	if r == nil {
		r = net.DefaultResolver
	}
	n.slb, n.resolver, n.kick = s, r, make(chan struct{}, 1)
	n.addrs, n.failed, n.next, n.wanted = map[string][2]netip.Addr{}, map[string]string{}, map[string]time.Time{}, map[string]bool{}
}

// known gives the addresses of a name; the zero Addr: none of the family.
func (n *names) known(host string) [2]netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.addrs[host]
}

// want says whose servers' names are followed from now on.
func (n *names) want(farms map[string]*farm) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.wanted
	n.wanted = map[string]bool{}
	for _, f := range farms {
		for _, list := range [...][]*member{f.members, f.off} {
			for _, m := range list {
				if m.Host != "" {
					n.wanted[m.Host] = true
				}
			}
		}
	}
	for host := range before {
		if !n.wanted[host] {
			delete(n.addrs, host)
			delete(n.failed, host)
			delete(n.next, host)
		}
	}
	poke(n.kick)
}

// run resolves names as they are due until ctx ends.
func (n *names) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.kick:
		case <-timer.C:
		}
		timer.Reset(n.turn(ctx))
	}
}

// turn resolves what is due, and says when the next is.
func (n *names) turn(ctx context.Context) time.Duration {
	now := time.Now()
	var due []string
	n.mu.Lock()
	for host := range n.wanted {
		if !now.Before(n.next[host]) {
			due, n.next[host] = append(due, host), now.Add(resolveEvery)
		}
	}
	n.mu.Unlock()
	slices.Sort(due)
	var running sync.WaitGroup
	slot := make(chan struct{}, resolveAtOnce)
	for _, host := range due {
		slot <- struct{}{}
		running.Go(func() {
			defer func() { <-slot }()
			n.resolve(ctx, host)
		})
	}
	running.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	wait := time.Hour
	for host := range n.wanted {
		wait = min(wait, time.Until(n.next[host]))
	}
	return max(wait, time.Millisecond)
}

// resolve asks for the addresses of one name.
func (n *names) resolve(ctx context.Context, host string) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	is := n.known(host)
	var errs [2]error
	found := false
	for i, network := range [...]string{"ip4", "ip6"} {
		var list []netip.Addr
		if list, errs[i] = n.resolver.LookupNetIP(ctx, network, host); errs[i] == nil {
			is[i] = chosen(list, i == 1, is[i])
			found = found || is[i].IsValid()
		}
	}
	for i, err := range errs { // the name is there, and has none of the family
		var missing *net.DNSError
		if found && errors.As(err, &missing) && missing.IsNotFound {
			is[i], errs[i] = netip.Addr{}, nil
		}
	}
	if ctx.Err() == nil || found {
		n.tell(host, errs)
	}
	if found {
		n.slb.renamed(host, is)
	}
}

// chosen gives the address that is taken of an answer: the one that is there
// already, else the lowest.
func chosen(list []netip.Addr, v6 bool, is netip.Addr) (best netip.Addr) {
	for _, a := range list {
		a = a.Unmap()
		switch {
		case a.Is6() != v6 || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast():
			continue
		case a == is:
			return a
		case !best.IsValid() || a.Less(best):
			best = a
		}
	}
	return best
}

// tell logs a name that begins to fail, and one that can be resolved again.
func (n *names) tell(host string, errs [2]error) {
	said := ""
	if errs[0] != nil && errs[1] != nil {
		said = errs[0].Error()
	}
	n.mu.Lock()
	was := n.failed[host]
	n.failed[host] = said
	n.mu.Unlock()
	switch {
	case said != "" && was == "":
		n.slb.opts.Log.Warn("the name of a server cannot be resolved; what was known of it stays", "name", shown(host), "err", said)
	case said == "" && was != "":
		n.slb.opts.Log.Info("the name of a server can be resolved again", "name", shown(host))
	}
}

// renamed takes the addresses that a name has now.
func (s *SLB) renamed(host string, is [2]netip.Addr) {
	n := &s.names
	n.mu.Lock()
	was := n.addrs[host]
	if is == was || !n.wanted[host] {
		n.mu.Unlock()
		return
	}
	n.addrs[host] = is
	n.mu.Unlock()
	s.mu.Lock()
	for _, f := range s.list {
		for _, list := range [...][]*member{f.members, f.off} {
			for _, m := range list {
				if m.Host == host && s.plan != nil {
					s.readdress(f, m, is)
				}
			}
		}
	}
	if s.plan != nil && s.book.series != 0 {
		s.book.series = 0 // counted anew, by where servers answer from now
		s.book.touched = map[*farm]bool{}
	}
	s.mu.Unlock()
	s.poke()
	if s.opts.Renamed != nil {
		s.opts.Renamed()
	}
}

// readdress gives a server by name the addresses that it has now. Connections to
// those that it had are dealt with as those of a server that fails, if it has
// others: they would not follow.
func (s *SLB) readdress(f *farm, m *member, is [2]netip.Addr) {
	_, wasOut := m.ownRow()
	old := m.places()
	was := m.addrs
	m.addrs = is
	s.opts.Kernel.Changed(Owner, s.plan.SetAddress(f.Name, m.Name, is[0], is[1])...)
	var gone []netip.AddrPort
	for _, at := range old {
		if !slices.Contains(is[:], at.Addr()) {
			gone = append(gone, at)
		}
	}
	why := fmt.Sprintf("%s is %s now, and was %s", shown(m.Host), addrsText(is), addrsText(was))
	s.opts.Board.Record(status.Event{ID: m.row, Old: addrsText(was), New: addrsText(is), Why: shown(m.Host) + " has these addresses now", By: Owner})
	if len(gone) > 0 && f.OnFailure != config.ServerKeep {
		s.endings = append(s.endings, &ending{farm: f.Name, server: m.Name, how: config.ServerReschedule, targets: gone, from: time.Now(),
			why: fmt.Sprintf("%s, and its farm says %s", why, f.OnFailure)})
		poke(s.ends)
	}
	if _, out := m.ownRow(); wasOut && !out {
		delete(s.rows, m.own)
		s.opts.Board.Replace(nil, []status.ID{m.own})
	}
}

// shown is a name as people write it.
func shown(host string) string { return strings.TrimSuffix(host, ".") }

func addrsText(a [2]netip.Addr) string {
	switch {
	case a[0].IsValid() && a[1].IsValid():
		return a[0].String() + " " + a[1].String()
	case a[0].IsValid():
		return a[0].String()
	case a[1].IsValid():
		return a[1].String()
	}
	return "nowhere"
}

// Names gives the addresses that servers by name have, for the next start.
func (s *SLB) Names() map[string][]netip.Addr {
	s.names.mu.Lock()
	defer s.names.mu.Unlock()
	all := map[string][]netip.Addr{}
	for host, addrs := range s.names.addrs {
		for _, a := range addrs {
			if a.IsValid() {
				all[host] = append(all[host], a)
			}
		}
	}
	return all
}

// RestoreNames takes what [SLB.Names] gave before a restart: until a name can be
// resolved it is where it was. It is called before [SLB.Use].
func (s *SLB) RestoreNames(all map[string][]netip.Addr) {
	s.names.mu.Lock()
	defer s.names.mu.Unlock()
	for host, list := range all {
		var addrs [2]netip.Addr
		for _, a := range list {
			if a.Is6() {
				addrs[1] = a
			} else {
				addrs[0] = a
			}
		}
		s.names.addrs[host], s.names.wanted[host] = addrs, true
	}
}

// Known gives the addresses that a name of servers has now; none are known of
// names that are not followed.
func (s *SLB) Known(host string) (list []netip.Addr) {
	for _, a := range s.names.known(host) {
		if a.IsValid() {
			list = append(list, a)
		}
	}
	return list
}
