package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/topology"
)

// The figures of docs/performance.md, by make bench-kernel. What is compared
// takes turns (nettest.Contest).

// tables is a gateway whose rules are made as the program makes them, without
// the program: what costs is seen apart from it.
type tables struct {
	*kernel.Kernel
	plan  *outbound.Plan
	facts outbound.Facts
	b     testing.TB
}

// everything is a configuration with all that a packet may have to go through:
// classes of 10,000 prefixes of an ISP, persistence, proximity, slots.
func everything(prefixes int, links []string, lan string) string {
	var b strings.Builder
	b.WriteString("version: 1\nlinks:\n" + strings.Join(links, ""))
	b.WriteString("isps:\n  - name: campus\n    prefixes:\n")
	for i := range prefixes {
		fmt.Fprintf(&b, "      - %d.%d.%d.0/24\n", 20+i>>14, i>>6&255, i&63*4)
	}
	b.WriteString("linkGroups:\n  - {name: all, proximity: true, members: [")
	for i := range links {
		fmt.Fprintf(&b, "{link: isp%d, weight: %d}, ", i+1, max(3-i, 1))
	}
	b.WriteString("]}\npersistence: [{name: client, timeout: 30m}]\nproximity: {methods: [icmp]}\noutbound:\n  interfaces: [" + lan + "]\n")
	b.WriteString(`  virtualServers: [{name: all, policy: office}]
  policies:
    - name: office
      rules: [{class: campus, action: {linkGroup: all}}, {class: near, action: {linkGroup: all}}]
      default: {linkGroup: all, persistence: client}
  classes: [{name: campus, isps: [campus]}, {name: near, destinations: [100.65.0.0/16]}]
`)
	return b.String()
}

// compiled makes the tables of a configuration for a namespace. Nothing stands
// before stand is called.
func compiled(b testing.TB, s *nettest.Space, text string) *tables {
	b.Helper()
	m, errs := config.LoadBytes([]byte(text), config.Source{})
	if errs.Failed() {
		b.Fatal(errs)
	}
	topo, errs := topology.Compile(m, config.Source{})
	if errs.Failed() {
		b.Fatal(errs)
	}
	var names []string
	for _, l := range m.Links {
		names = append(names, l.Name)
	}
	ids, err := outbound.Number(names, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	t := &tables{b: b}
	if t.plan, errs = outbound.Compile(outbound.Inputs{Model: m, Topology: topo, IDs: ids}); errs.Failed() {
		b.Fatal(errs)
	}
	var reader *kernel.Reader
	s.Do(func() {
		t.Kernel, err = kernel.New(kernel.Options{})
		if err == nil {
			reader, err = kernel.Open()
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	t.facts.Now = time.Now()
	if t.facts.Interfaces, err = reader.Interfaces(); err != nil {
		b.Fatal(err)
	}
	reader.Close()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- t.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
		t.Close()
	})
	return t
}

// share has all links alive, and gives out the slots by their weights.
func (t *tables) share(weights ...int) (changed []*kernel.Elements) {
	var ids []slots.ID
	r := slots.Result{Slots: make(slots.Slots, outbound.SlotCount)}
	for i, w := range weights {
		r.Alive = append(r.Alive, slots.ID(i+1))
		for range w {
			ids = append(ids, slots.ID(i+1))
		}
	}
	r.Available, r.AvailableOrBusy = r.Alive, r.Alive
	for i := range r.Slots {
		r.Slots[i] = ids[i%len(ids)]
	}
	for _, v := range t.plan.Variants() {
		changed = append(changed, v.Set(&r)...)
	}
	return changed
}

// measured puts n networks from 60.0.0.0 on into the map of distances.
func (t *tables) measured(n, links int) {
	for i := range n {
		a := netip.AddrFrom4([4]byte{byte(60 + i>>16), byte(i >> 8), byte(i), 0})
		t.plan.SetRanks(netip.PrefixFrom(a, 24), outbound.RanksOf(slots.ID(i%links+1), slots.ID((i+1)%links+1)))
	}
}

// stand puts the tables into Linux.
func (t *tables) stand() {
	t.b.Helper()
	t.Want(outbound.Owner, t.plan.Wishes(t.facts))
	t.synced()
}

func (t *tables) synced() {
	t.b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := t.Sync(ctx, outbound.Owner); err != nil {
		t.b.Fatal(err)
	}
}
