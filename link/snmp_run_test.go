package link

import (
	"context"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// From a router's counters to a busy link, over real sockets; a router beside it
// that never answers holds nothing up, and is told.
func TestSNMPMakesLinkBusy_1_2_12(t *testing.T) {
	a := startAgent(t, nil)
	a.put(7, "Gi0/1", "", "uplink")
	began := time.Now()
	a.says(func(_, p *gosnmp.SnmpPacket) [][]byte {
		for i, v := range p.Variables {
			switch v.Name {
			case sysUpTime:
				p.Variables[i].Value = uint32(1000 + time.Since(began)/(10*time.Millisecond))
			case ifHCInOctets + strconv.Itoa(7):
				p.Variables[i].Value = uint64(1e6 * time.Since(began).Seconds())
			}
		}
		return [][]byte{packed(p)}
	})
	silent := startAgent(t, nil)
	silent.says(func(_, _ *gosnmp.SnmpPacket) [][]byte { return nil })

	linkOf := func(name string, a *agent) *config.Link {
		return &config.Link{Name: name, MaxBandwidth: config.Bandwidths{In: 10e6}, RateLimit: config.Bandwidths{In: 20e6},
			Busy:  config.Busy{In: config.BusyShares{Rate: 70, Recovery: 60}, Window: config.Duration(time.Second)},
			Meter: config.Meter{From: config.MeterSNMP, SNMP: a.spec("uplink")}}
	}
	board := status.NewBoard(100)
	links := New(board, Options{})
	links.Want([]*config.Link{linkOf("far", a), linkOf("dead", silent)})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() {
		if err := links.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()

	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var far, dead State
	for !board.Table().Row("link/far").Busy || dead.Error == "" {
		select {
		case <-ctx.Done():
			t.Fatalf("never busy: %+v, %+v", far, dead)
		case <-tick.C:
			states := links.States()
			far, dead = states[0], states[1]
		}
	}
	if g, _ := board.Gauges().Get("link/far"); math.Abs(g.Rate[busy.In]-8e6) > 8e5 || math.Abs(g.Remaining[busy.In]-12e6) > 8e5 {
		t.Errorf("%+v, want about 8 Mbps, and 12 remaining", g)
	}
	if why := board.Table().Row("link/far").LoadWhy; !strings.HasSuffix(why, " is over 7Mbps (70% of 10Mbps)") {
		t.Errorf("%q", why)
	}
	if g, _ := board.Gauges().Get("link/dead"); !math.IsNaN(g.Rate[busy.In]) || board.Table().Row("link/dead").Busy || !strings.Contains(dead.Error, "does not answer") {
		t.Errorf("a silent router: %+v, %q", g, dead.Error)
	}
}

// T28 for what is pushed: a rate counts for meter.maxAge, counters from two
// reports on; nothing is pushed to a link that is metered otherwise.
func TestPushOctets_T28(t *testing.T) {
	links := New(status.NewBoard(10), Options{})
	links.Want([]*config.Link{
		{Name: "a", Meter: config.Meter{From: config.MeterPush, MaxAge: config.Duration(30 * time.Second)}},
		{Name: "b", Interface: "eth1", Meter: config.Meter{From: config.MeterInterface}},
	})
	a := links.byName["a"]
	at := func(d time.Duration) float64 { return a.meter.rates(time.Now().Add(d))[busy.In] }
	push := func(in uint64) {
		t.Helper()
		if err := links.PushOctets("a", in, 0, 32); err != nil {
			t.Fatal(err)
		}
	}
	if err := links.Push("a", busy.Rates{math.NaN(), 5e6, 1e6}); err != nil || at(0) != 5e6 {
		t.Fatal(at(0), err)
	}
	push(1<<32 - 1000)
	if !math.IsNaN(at(0)) {
		t.Errorf("one report of counters: %v", at(0))
	}
	a.meter.ring[0].At = a.meter.ring[0].At.Add(-10 * time.Second)
	a.meter.capacity = 1e6
	push(1000) // it has wrapped
	if got := at(0); math.Abs(got-1600) > 10 {
		t.Errorf("rate %v, want 1600", got)
	}
	if !math.IsNaN(at(31 * time.Second)) {
		t.Errorf("too old: %v", at(31*time.Second))
	}
	for name, want := range map[string]string{"b": `link "b" is not metered`, "c": `there is no link "c"`} {
		if err := links.PushOctets(name, 1, 1, 64); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Where nobody listens the error is the same each time, so that a log tells it
// once.
func TestSNMPRefused(t *testing.T) {
	a := startAgent(t, nil)
	_ = a.conn.Close() // nothing was written
	told := map[string]bool{}
	for range 3 {
		p, r := a.open(t, "Gi0/1")
		p.where.index = 7
		_, err := p.ask(r)
		if err == nil {
			t.Fatal("an answer")
		}
		told[err.Error()] = true
	}
	if want := "router 127.0.0.1: recvfrom: connection refused"; len(told) != 1 || !told[want] {
		t.Errorf("%v, want %s", told, want)
	}
}
