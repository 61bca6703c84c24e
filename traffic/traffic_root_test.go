package traffic

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
)

// linux gives a kernel in a namespace of its own, with what fails told in the
// test.
func linux(t *testing.T) (*nettest.Space, *kernel.Kernel) {
	space := nettest.New(t)
	var k *kernel.Kernel
	var err error
	space.Do(func() { k, err = kernel.New(kernel.Options{}) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		k.Close()
	})
	return space, k
}

func stands(t *testing.T, k *kernel.Kernel, table kernel.Table) {
	t.Helper()
	k.Want("traffic", &kernel.Wishes{Tables: []kernel.Table{table}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := k.Sync(ctx, "traffic"); err != nil {
		t.Fatalf("%v\n%s", err, table.Text())
	}
}

// Linux itself counts connections by a key that has the number of their virtual
// server in it: one chain of a limit policy bounds each virtual server by
// itself, shuts it at upper, and opens it below lower (1.2.9, T29).
func TestLimitPolicy_Root(t *testing.T) {
	space, k := linux(t)
	const one, two = 8001, 8002
	b := NewBuilder("portolan_traffic", NewFixed())
	b.Base("out", kernel.Hook{Type: "filter", Point: "output"}, func() (rules []kernel.Rule) {
		for number, port := range []uint16{one, two} {
			rules = append(rules, Rule("", IsNew(), OfProtocol(6), kernel.Is{Of: kernel.DestPort, To: kernel.Port(port)},
				kernel.SetCtMark{Mask: kernel.ServerMask, Bits: uint32(number+1) << 10}))
		}
		policy := &config.LimitPolicy{Name: "p", Rules: []*config.LimitRule{{Per: []string{config.LimitPerSource}, Upper: 3, Lower: 2}}}
		chain := b.LimitPolicy(policy, Bounded{Key: server(), Type: kernel.TypeNumber, Refuse: []kernel.Step{kernel.Reject{With: kernel.TCPReset}}})
		return append(rules, Rule("", IsNew(), AnyBit(kernel.CtMark, kernel.ServerMask), kernel.Jump{Chain: chain}))
	})
	table, _ := b.Done()
	stands(t, k, table)
	for _, loopback := range []string{"127.0.0.1", "::1"} {
		for _, port := range []uint16{one, two} {
			var l net.Listener
			var err error
			at := netip.AddrPortFrom(netip.MustParseAddr(loopback), port)
			space.Do(func() { l, err = net.Listen("tcp", at.String()) })
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}
		// dial opens a connection that ends without a trace in Linux: with a reset.
		dial := func(port uint16) (c *net.TCPConn) {
			t.Helper()
			var err error
			space.Do(func() {
				c, err = net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(loopback), port)))
			})
			if err != nil {
				if !errors.Is(err, syscall.ECONNREFUSED) {
					t.Fatal(err)
				}
				return nil
			}
			if err := c.SetLinger(0); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c
		}
		var open []*net.TCPConn
		for i := range 3 {
			if open = append(open, dial(one)); open[i] == nil {
				t.Fatalf("%s: connection %d is refused", loopback, i+1)
			}
		}
		if dial(one) != nil {
			t.Errorf("%s: the fourth connection is admitted", loopback)
		}
		if dial(two) == nil {
			t.Errorf("%s: the other virtual server is shut, too", loopback)
		}
		open[0].Close()
		if dial(one) != nil {
			t.Errorf("%s: it opens though it is not below lower", loopback)
		}
		open[1].Close()
		// Linux sees a few milliseconds later that a connection has ended.
		for deadline := time.Now().Add(10 * time.Second); dial(one) == nil; {
			if time.Now().After(deadline) {
				t.Fatalf("%s: below lower it stays shut", loopback)
			}
			<-time.After(100 * time.Millisecond)
		}
	}
}

// Linux takes the maps of each kind of persistence, with what packets write into
// them, and what is read from them says whose an entry is.
func TestSimilar_Root(t *testing.T) {
	space, k := linux(t)
	kinds := []string{config.PersistBySource, config.PersistBySourcePort, config.PersistByDestination, config.PersistBySourceDestination}
	similar := func(by string, scoped bool) Similar {
		s := Similar{By: by, Source: config.Mask{V4: 8, V6: 128}, Destination: config.Mask{V4: 32, V6: 64}}
		if scoped {
			s.Scope = server()
		}
		return s
	}
	name := func(by string, scoped bool, f Family) string {
		if scoped {
			by += "_scoped"
		}
		return by + f.Digit
	}
	b := NewBuilder("portolan_traffic", NewFixed())
	b.Base("out", kernel.Hook{Type: "filter", Point: "output"}, func() []kernel.Rule {
		rules := []kernel.Rule{Rule("", IsNew(), OfProtocol(17), kernel.SetCtMark{Mask: kernel.ServerMask, Bits: 9 << 10})}
		for _, by := range kinds {
			for _, scoped := range []bool{false, true} {
				for _, f := range Families() {
					s := similar(by, scoped)
					set := b.Entries(name(by, scoped, f), &config.Persistence{Name: by, MaxEntries: 1000}, s, f, kernel.TypeNumber)
					rules = append(rules, Rule("", IsNew(), OfProtocol(17), kernel.Change{How: kernel.Put, Set: set, Key: s.Key(f), Data: server(), Timeout: time.Minute}))
				}
			}
		}
		return rules
	})
	table, _ := b.Done()
	stands(t, k, table)
	for _, f := range Families() {
		loopback := [2]string{"127.0.0.1", "::1"}[f.Index]
		var c net.Conn
		var err error
		space.Do(func() { c, err = net.Dial("udp", net.JoinHostPort(loopback, "8001")) })
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		for _, by := range kinds {
			for _, scoped := range []bool{false, true} {
				s := similar(by, scoped)
				list, err := k.Elements("portolan_traffic", name(by, scoped, f))
				if err != nil || len(list) != 1 {
					t.Errorf("%s of IPv%s: %d entries: %v", by, f.Digit, len(list), err)
					continue
				}
				var want Client
				if s.source() {
					want.Source, _ = address(loopback).Prefix(f.MaskOf(s.Source))
				}
				if s.destination() {
					want.Destination, _ = address(loopback).Prefix(f.MaskOf(s.Destination))
				}
				if s.port() {
					want.Port = port
				}
				if scoped {
					want.Scope = 9 << 10
				}
				if got, ok := s.Read(f, list[0].Key); !ok || got != want {
					t.Errorf("%s of IPv%s: %x is %+v, want %+v", by, f.Digit, list[0].Key, got, want)
				}
			}
		}
	}
}
