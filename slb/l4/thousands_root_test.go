package l4

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// Five thousand of ten thousand virtual servers go and come back, which the kernel is
// told in many transactions. After each, a connection to one that stays finds its
// server, though how that draws changes with it: in turn, or by lot, by how many farms come
// before its own (T60).
func TestThousandsLeave_Root(t *testing.T) {
	nettest.NeedRoot(t)
	f := nettest.NewFarm(t, nettest.FarmLayout{Hosts: 1})
	f.Serve(80, 8080)
	all := many(10_000, 1, config.FarmRoundRobin)
	const stays = 5003
	all.VirtualServers[stays].Addresses = []netip.Addr{f.Virtual4(1)}
	for i, farm := range all.ServerFarms {
		if farm.Slots = 16; i == stays {
			farm.Servers[0].Addresses = []netip.Addr{f.Hosts[0].Addr4}
		}
	}
	half := *all
	half.VirtualServers, half.ServerFarms = all.VirtualServers[5000:], all.ServerFarms[5000:]

	var watched, transactions, failed int
	ready := false
	opts := kernel.Options{Part: 1 << 20, Report: func([]status.Row, []status.ID) {}, Fail: func([]string) error {
		if transactions++; !ready || failed > 0 {
			return nil
		}
		watched++
		talk, err := nettest.Call(f.Clients, f.Client4(transactions%50), netip.AddrPortFrom(f.Virtual4(1), 80), 10*nettest.Patience)
		if err != nil {
			failed++
			t.Errorf("before transaction %d: %v", transactions, err)
			return nil
		}
		if err := talk.Close(); err != nil {
			t.Error(err)
		}
		return nil
	}}
	var k *kernel.Kernel
	var err error
	f.Do(func() { k, err = kernel.New(opts) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := k.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer k.Close()
	defer running.Wait()
	defer stop()
	facts := Facts{Interfaces: []kernel.Interface{nic("front0", "192.0.2.1/24"), nic("back0", "10.30.0.1/16")}}
	use := func(m *config.Model, before *Plan) *Plan {
		t.Helper()
		p := compileModel(t, m, before)
		for _, farm := range p.farms {
			p.SetSlots(farm.Name, spread(farm.Slots, farm.ids()))
			p.SetServers(farm.Name, evenly(farm.ids()))
		}
		k.Want(Owner, &kernel.Wishes{Tables: p.Wishes(facts).Tables})
		within, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		if err := k.Sync(within, Owner); err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := use(all, nil)
	ready = true // what was done before Sync came back is done
	was := fmt.Sprint(p.byFarm["n05003"].mode.of)
	for _, m := range []*config.Model{&half, all} {
		watched, transactions = 0, 0
		p = use(m, p)
		now := fmt.Sprint(p.byFarm["n05003"].mode.of)
		if watched < 5 || now == was {
			t.Errorf("%d transactions, of which %d were watched; it draws by %s, and by %s before", transactions, watched, now, was)
		}
		was = now
		talk, err := f.TCP(f.Client4(1), netip.AddrPortFrom(f.Virtual4(1), 80))
		if err != nil {
			t.Fatal(err)
		}
		_ = talk.Close()
	}
}
