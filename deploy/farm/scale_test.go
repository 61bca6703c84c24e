package farm

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// Test 1 is of 10,000 virtual servers of ten servers each. That many take minutes, so
// there are fewer here; what 10,000 cost is measured by make bench-kernel. The first
// 256 farms have a rule each, for their turns.
const (
	manyVirtuals = 2000
	fewVirtuals  = 300
	manyServers  = 10
	perAddress   = 200 // virtual servers of an address, by port
)

// thousands is a configuration of n virtual servers of both families, each with
// a farm of its own, whose servers are all of one host.
func thousands(f *nettest.Farm, n int) text {
	var servers, farms strings.Builder
	for i := range n {
		v4, v6 := placeOf(f, i)
		fmt.Fprintf(&servers, "  - {name: vs%05d, addresses: [%s, \"%s\"], port: %d, serve: {farm: f%05d}}\n", i, v4.Addr(), v6.Addr(), v4.Port(), i)
		fmt.Fprintf(&farms, "  - {name: f%05d, slots: 64, port: 80, servers: [", i)
		for k := range manyServers {
			host, last := backend(f, i, k)
			fmt.Fprintf(&farms, "{name: s%d, addresses: [%s, \"%s\"]}, ", k, host.Server(last, host.Addr4), host.Server(last, host.Addr6))
		}
		farms.WriteString("]}\n")
	}
	return text("version: 1\nnode: {name: lb}\nvirtualServers:\n" + servers.String() + "serverFarms:\n" + farms.String())
}

// placeOf is where the i-th of the virtual servers is.
func placeOf(f *nettest.Farm, i int) (v4, v6 netip.AddrPort) {
	n, port := 1+i/perAddress, uint16(1000+i%perAddress)
	return netip.AddrPortFrom(f.Virtual4(n), port), netip.AddrPortFrom(f.Virtual6(n), port)
}

// backend is the k-th server of the i-th farm: a host, and which of its further
// addresses. 75 farms of 10 have all of them between them, and then they begin
// anew.
func backend(f *nettest.Farm, i, k int) (*nettest.Host, int) {
	return f.Hosts[i%len(f.Hosts)], (i/len(f.Hosts)*manyServers + k) % 250
}

// Test 1 and its twin: many virtual servers load while connections go on and
// come; there are no more rules than of few; each leads to a server of its own
// farm, and one more of them is told to Linux by what it has itself.
func TestB01_Many_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	b.use(thousands(b.Farm, fewVirtuals))
	rules := func() string { return b.Must("", "nft", "-t", "list", "table", "inet", "portolan_slb") }
	b.answers(fewVirtuals)
	few := rules()
	past := func(i int) (netip.Addr, netip.AddrPort) { // what is not balanced, and what was before
		v4, _ := placeOf(b.Farm, 0)
		to := []netip.AddrPort{v4, netip.AddrPortFrom(b.Hosts[i%3].Addr4, 80)}[i%2]
		return b.Client4(i % clients), to
	}
	held, opened := b.Hold(60, 100*time.Millisecond, past)
	if opened.Failed > 0 {
		t.Fatal(opened)
	}
	stop, done := make(chan struct{}), make(chan nettest.Spread, 1)
	end := sync.OnceFunc(func() { close(stop) })
	defer end()
	go func() {
		var all nettest.Spread
		for {
			s := b.InTurn(50, past)
			if all.Failed, all.P99 = all.Failed+s.Failed, max(all.P99, s.P99); s.Err != nil {
				all.Err = s.Err
			}
			select {
			case <-stop:
				done <- all
				return
			default:
			}
		}
	}()
	began := time.Now()
	b.Applies(thousands(b.Farm, manyVirtuals).String())
	b.answers(manyVirtuals)
	took := time.Since(began)
	end()
	came, fate := <-done, held.Stop()
	t.Logf("%d virtual servers of %d servers after %s; p99 of a connection meanwhile %s, longest wait of one that was open %s", manyVirtuals, manyServers, took, came.P99, fate.Gap)
	if came.Failed+fate.Lost+fate.Wrong > 0 {
		t.Errorf("while they load: %d new ones failed (%v), and of those before %+v", came.Failed, came.Err, fate)
	}
	if lots := rules(); lots != few {
		t.Errorf("the table without its elements has %d lines of %d virtual servers, and %d of %d", strings.Count(few, "\n"), fewVirtuals, strings.Count(lots, "\n"), manyVirtuals)
	}
	b.each(t, manyVirtuals)
	heard := b.Overhear(t, func() {
		b.Applies(thousands(b.Farm, manyVirtuals+1).String())
		b.answers(manyVirtuals + 1)
	})
	if per := 2*64 + 20*manyServers; heard.Added == 0 || heard.Added > per || heard.Deleted > 0 || heard.Others > 0 {
		t.Errorf("one more is told by %+v, want at most %d elements and nothing else", heard, per)
	}
	b.each(t, manyVirtuals+1)
}

// answers waits until the last of the virtual servers answers.
func (b *balancer) answers(n int) {
	b.T.Helper()
	_, to := placeOf(b.Farm, n-1)
	b.Until(time.Minute, func() error {
		return b.InTurn(1, func(int) (netip.Addr, netip.AddrPort) { return b.Client6(0), to }).Err
	})
}

// each asks the first, the last and others by lot, over both families, whether
// they lead to a server of their own.
func (b *balancer) each(t *testing.T, n int) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	which := append([]int{0, 1, n - 2, n - 1}, rand.New(rand.NewPCG(seed, 1)).Perm(n)[:96]...)
	if s := b.Many(2*len(which), 16, func(j int) (nettest.Seen, error) {
		i := which[j/2]
		from := b.Client4(j)
		to, six := placeOf(b.Farm, i)
		if j%2 == 1 {
			from, to = b.Client6(j), six
		}
		talk, err := b.TCP(from, to)
		if err != nil {
			return nettest.Seen{}, fmt.Errorf("virtual server %d (seed %d): %w", i, seed, err)
		}
		own := false
		for k := range manyServers {
			host, nth := backend(b.Farm, i, k)
			own = own || host.Server(nth, from) == talk.First.At.Addr()
		}
		if !own {
			t.Errorf("seed %d: %s, of virtual server %d, leads to %s, which is not of its farm", seed, to, i, talk.First.At)
		}
		return talk.First, talk.Close()
	}); s.Failed > 0 {
		t.Error(s)
	}
}
