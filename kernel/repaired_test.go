package kernel

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// What is put back is told, and nothing else is: neither what was wished anew
// nor elements that changed.
func TestRepairedIsTold_Root(t *testing.T) {
	at, other := nettest.New(t), nettest.New(t)
	at.Cable("eth1", other, "eth0")
	at.IP("addr add 203.0.113.7/24 dev eth1")
	var mu sync.Mutex
	var told []string
	var k *Kernel
	var err error
	at.Do(func() {
		k, err = New(Options{Repaired: func(owner, what string) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, owner+": "+what)
		}})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	const owner = "outbound"
	list := NewElements(Element{Key: Port(80)})
	wishes := func(rules ...Rule) *Wishes {
		return &Wishes{
			Tables: []Table{{Name: "portolan_" + owner, Sets: []Set{{Name: "ports", Key: []Type{TypePort}, Elements: list}},
				Chains: []Chain{{Name: "c", Rules: rules}}}},
			Rules:  []PolicyRule{{Priority: 1001, Mark: 1, Mask: LinkMask, Table: 1001}},
			Routes: link1()[:1], Addresses: []Address{{netip.MustParsePrefix("203.0.113.80/32"), "eth1"}},
		}
	}
	synced := func() {
		t.Helper()
		if err := k.Sync(ctx, owner); err != nil {
			t.Fatal(err)
		}
	}
	k.Want(owner, wishes(Rule{Tell: "one", Do: []Step{Accept{}}}))
	synced()
	k.Want(owner, wishes(Rule{Tell: "two", Do: []Step{Drop{}}}))
	list.Put(Element{Key: Port(443)})
	k.Changed(owner, list)
	synced()
	says := func(what, part string, n int) {
		t.Helper()
		until(t, what, longEnough, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(told) == n && (n == 0 || strings.Contains(told[n-1], part))
		})
	}
	says("own changes", "", 0)
	mustNFT(t, at, "", "flush", "ruleset")
	says("flush", "outbound: table portolan_outbound, by ", 1)
	at.IP("rule del pref 1001")
	says("a rule", "outbound: addresses, routes and rules of policy, by 1 change", 2)
	at.IP("addr del 203.0.113.80/32 dev eth1")
	k.Want(owner, wishes(Rule{Tell: "two", Do: []Step{Drop{}}})) // as an owner does who hears of it as well
	says("an address, and its owner asks for the same again", "outbound: addresses, routes and rules of policy, by 1 change", 3)
	k.Want(owner, &Wishes{})
	synced()
	says("what is wished no more", "outbound: addresses, routes and rules of policy, by 1 change", 3)
}
