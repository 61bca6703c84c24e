package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// openWorld starts the servers of the world, which tell who they think has come,
// and a resolver of each ISP, until ctx ends. run runs what serves.
func (l *lab) openWorld(ctx context.Context, run func(func() error)) error {
	var web net.Listener
	var err error
	l.spaces[world].do(func() { web, err = net.Listen("tcp4", ":80") })
	if err != nil {
		return fmt.Errorf("world: %w", err)
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.RemoteAddr) }),
		ReadHeaderTimeout: 5 * time.Second,
	}
	run(func() error {
		if err := server.Serve(web); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	run(func() error { <-ctx.Done(); return server.Close() })
	at := map[string]netip.Addr{world: l.addr4(netWorld, hostDNS)}
	for _, u := range uplinks {
		at[u.name] = l.addr4(u.transit, hostResolver)
	}
	for place, address := range at {
		r := &resolver{name: place}
		l.spaces[place].do(func() {
			r.socket, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 53)))
		})
		if err != nil {
			return fmt.Errorf("resolver of %s: %w", place, err)
		}
		run(r.serve)
		run(func() error { <-ctx.Done(); return r.socket.Close() })
	}
	return nil
}

// visit has a client of the office fetch a page of the world, and names the ISP
// that it came by.
func (l *lab) visit(ctx context.Context, from, to netip.Addr) (string, error) {
	t, by, err := l.talk(ctx, from, to)
	if err != nil {
		return "", err
	}
	return by, t.Close()
}

// spread is how many connections, or answers, each ISP had.
type spread struct {
	by     map[string]int
	failed int
	err    error
}

func (s spread) String() string {
	var words []string
	for _, u := range uplinks {
		words = append(words, fmt.Sprintf("%s %d", u.name, s.by[u.name]))
	}
	for name, n := range s.by {
		if !isUplink(name) {
			words = append(words, fmt.Sprintf("%s %d", name, n))
		}
	}
	if s.failed > 0 {
		words = append(words, fmt.Sprintf("%d failed (%v)", s.failed, s.err))
	}
	return strings.Join(words, ", ")
}

func isUplink(name string) bool {
	for _, u := range uplinks {
		if u.name == name {
			return true
		}
	}
	return false
}

// many calls one n times, some side by side, and counts what it names.
func many(n int, one func(i int) (string, error)) spread {
	s := spread{by: map[string]int{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	places := make(chan struct{}, 8)
	for i := range n {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			name, err := one(i)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.failed++
				s.err = err
			} else {
				s.by[name]++
			}
		})
	}
	wg.Wait()
	return s
}

// shares wants each ISP's share of what did not fail to be that of its weight,
// of those that are given, within one in slack.
func (s spread) shares(slack int, names ...string) error {
	total, weights := 0, 0
	for _, n := range s.by {
		total += n
	}
	want := map[string]int{}
	for _, u := range uplinks {
		for _, name := range names {
			if u.name == name {
				want[name] = u.weight
				weights += u.weight
			}
		}
	}
	bad := s.failed > 0
	for name, n := range s.by {
		off := n*weights - total*want[name]
		bad = bad || max(off, -off)*slack > total*weights || want[name] == 0
	}
	if bad || len(s.by) != len(names) {
		return fmt.Errorf("%s; want %v by their weights", s, names)
	}
	return nil
}
