package l4

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
)

// explained has a virtual server for each way to a server.
const explained = `
version: 1
persistence: [{name: keep, timeout: 10m}, {name: ports, timeout: 10m, by: source-port}]
virtualServers:
  - {name: turn, addresses: [203.0.113.1, "2001:db8:113::1"], serve: {ports: [80-90], farm: turn}}
  - {name: turn-udp, addresses: [203.0.113.1, "2001:db8:113::1"], serve: {type: udp, ports: [80], farm: turn}}
  - {name: hash, addresses: [203.0.113.2, "2001:db8:113::2"], port: 80, serve: {farm: hash}}
  - {name: pair, addresses: [203.0.113.3, "2001:db8:113::3"], serve: {type: ip, farm: pair}}
  - {name: lot, addresses: [203.0.113.4, "2001:db8:113::4"], serve: {type: ip, farm: lot, persistence: keep}}
  - {name: rules, addresses: [203.0.113.5, "2001:db8:113::5"], serve: {type: ip, farm: lot, policy: rules}}
  - {name: small, addresses: [203.0.113.6, "2001:db8:113::6"], port: 80, serve: {farm: small, persistence: ports}}
  - {name: tight, addresses: [203.0.113.7, "2001:db8:113::7"], port: 80, serve: {farm: hash, maxConnections: 1, limitPolicy: each}}
  - {name: nobody, addresses: [203.0.113.8, "2001:db8:113::8"], port: 80, serve: {farm: nobody, backup: gone}}
  - {name: rest, addresses: [203.0.113.0], serve: {mask: {v4: 24}, type: tcp, farm: hash}}
serverFarms:
  - {name: turn, snatPool: inside, servers: ALL}
  - {name: hash, algorithm: source-hash, snatPool: inside, servers: ALL}
  - {name: pair, algorithm: source-port-hash, servers: BARE}
  - {name: lot, algorithm: random, servers: BARE}
  - name: small
    snatPool: inside
    servers: [{name: one, addresses: [10.31.1.5, "fd10:31:1::5"], port: 80, maxConnections: 1}, {name: two, addresses: [10.31.2.5, "fd10:31:2::5"], port: 80}]
  - {name: last, servers: [{name: h, addresses: [10.30.0.13, "fd10:30::13"]}]}
  - {name: nobody}
  - {name: gone}
snatPools: [{name: inside, addresses: [10.30.9.1-10.30.9.4, "fd10:30::900-fd10:30::903"]}]
slb:
  policies:
    - name: rules
      rules: [{class: bad, action: drop}, {class: alt, action: {farm: last}}, {class: pings, action: {farm: pair, persistence: keep}}, {class: none, action: {farm: nobody}}]
  classes:
    - {name: bad, sources: [10.10.1.0/29, "fd10:10::/125"]}
    - {name: alt, ports: [udp/80]}
    - {name: pings, ports: [icmp]}
    - {name: none, sources: [10.10.1.8/29]}
  limitPolicies: [{name: each, rules: [{per: [source], upper: 1}]}]
`

// A26 is the model: what explain flow says of random flows of every kind is what
// becomes of them when they are sent: the server, the source that it sees, dropped or
// let pass; at limits what it says of those. Of open sessions it says where they are.
func TestExplain_Root(t *testing.T) {
	x := newExplained(t)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	kinds := map[string]int{}
	for n := range 200 {
		a := x.attempt(r, n)
		e := x.ask(a)
		host, source, c := x.send(a, answered(e))
		if why := x.agrees(e, host, source); why != "" {
			t.Errorf("seed %d: %s comes to host %d from %s, is told otherwise (%s):\n%s", seed, a, host, source, why, toldText(e))
		}
		kinds[a.protocol]++
		if len(e.Ways) == 1 {
			kinds["certain"]++
		}
		if host == 0 {
			kinds["nobody"]++
			continue
		}
		if a.protocol != "icmp" {
			again := x.ask(a)
			if again.Session == nil || len(again.Ways) != 1 || x.agrees(again, host, source) != "" || again.Session.Server == "" || again.Session.Server != again.Ways[0].Server {
				t.Errorf("seed %d: %s is open at host %d from %s, and told as:\n%s", seed, a, host, source, toldText(again))
			}
		}
		if c != nil && (a.network != 6 && a.network != 7 || r.IntN(3) > 0) { // some stay, and fill what has limits
			_ = c.Close()
		} else if c != nil {
			t.Cleanup(func() { _ = c.Close() })
		}
	}
	t.Logf("%v %v", kinds, x.over)
	for kind, least := range map[string]int{"tcp": 40, "udp": 30, "icmp": 10, "certain": 60, "nobody": 20} {
		if kinds[kind] < least {
			t.Errorf("too little was tried of %s: %v %v", kind, kinds, x.over)
		}
	}
}

type explainer struct {
	*farmed
	machine flow.Machine
	over    map[string]int // flows that went as it was told for limits
	pings   sync.WaitGroup
}

func newExplained(t *testing.T) *explainer {
	const all = `[{name: one, addresses: [10.31.1.5, "fd10:31:1::5"], port: 80}, {name: two, addresses: [10.31.2.5, "fd10:31:2::5"], port: 80}, {name: three, addresses: [10.31.3.5, "fd10:31:3::5"], port: 80}]`
	const bare = `[{name: one, addresses: [10.30.0.11, "fd10:30::11"]}, {name: two, addresses: [10.30.0.12, "fd10:30::12"]}, {name: three, addresses: [10.30.0.13, "fd10:30::13"]}]`
	f := newFarmed(t, strings.NewReplacer("ALL", all, "BARE", bare).Replace(explained))
	f.farm.Batch("addr add 10.30.9.1/16 dev back0", "addr add 10.30.9.2/16 dev back0", "addr add 10.30.9.3/16 dev back0", "addr add 10.30.9.4/16 dev back0",
		"addr add fd10:30::900/64 dev back0 nodad", "addr add fd10:30::901/64 dev back0 nodad", "addr add fd10:30::902/64 dev back0 nodad", "addr add fd10:30::903/64 dev back0 nodad")
	for _, name := range []string{"nobody", "gone"} { // as a tick would have it
		f.changes(append(f.SetServers(name, States{}), f.SetUnavailable(name, true)...)...)
	}
	return newExplainer(f)
}

// newExplainer explains what stands in Linux.
func newExplainer(f *farmed) *explainer {
	t := f.t
	t.Helper()
	x := &explainer{farmed: f, over: map[string]int{}}
	t.Cleanup(x.pings.Wait)
	var reader *kernel.Reader
	var sessions *kernel.Conntrack
	var err error
	f.farm.Do(func() {
		if reader, err = kernel.Open(); err == nil {
			sessions, err = kernel.OpenConntrack()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close(); sessions.Close() })
	x.machine = flow.Machine{Sessions: sessions, Element: f.inLinux.Element, Lookup: reader.Lookup}
	if x.machine.Interfaces, err = reader.Interfaces(); err != nil {
		t.Fatal(err)
	}
	return x
}

// tried is a flow before it is sent.
type tried struct {
	protocol string
	network  int // of the virtual address
	from, to netip.AddrPort
}

func (a tried) String() string { return fmt.Sprintf("%s %s -> %s", a.protocol, a.from, a.to) }

func (x *explainer) attempt(r *rand.Rand, n int) tried {
	a := tried{protocol: []string{"tcp", "tcp", "udp", "udp", "icmp"}[r.IntN(5)], network: 1 + r.IntN(9)}
	client := r.IntN(20)
	from, to := x.farm.Client4(client), x.farm.Virtual4(a.network)
	if r.IntN(3) == 0 {
		from, to = x.farm.Client6(client), x.farm.Virtual6(a.network)
	}
	port := uint16(80)
	if r.IntN(6) == 0 {
		port = 8080
	}
	a.from, a.to = netip.AddrPortFrom(from, uint16(20000+n)), netip.AddrPortFrom(to, port)
	return a
}

func (x *explainer) ask(a tried) *flow.Explanation {
	x.t.Helper()
	from, to := a.from.String(), a.to.String()
	if a.protocol == "icmp" {
		from, to = a.from.Addr().String(), a.to.Addr().String()
	}
	in := "" // it is found out
	if !x.Serves(a.to.Addr()) {
		in = "front0"
	}
	e := x.explain(from, to+"/"+a.protocol, in)
	if e.Question.In != "front0" {
		x.t.Fatalf("%s comes in by %q", a, e.Question.In)
	}
	return e
}

// explain asks as an operator does.
func (x *explainer) explain(from, to, in string) *flow.Explanation {
	x.t.Helper()
	q, err := flow.Parse(from, to, in)
	if err != nil {
		x.t.Fatal(err)
	}
	part := &flow.Part{Wishes: x.Wishes(x.facts), Names: x.Names(nil), Serves: x.Serves}
	e, err := flow.Journey(x.t.Context(), x.machine, q, part)
	if err != nil {
		x.t.Fatalf("%s to %s: %v", from, to, err)
	}
	return e
}

// send sends a flow, and gives the host that answered, 0 if none, with the source
// that it saw, where it tells, and what holds the session open. What nobody should
// answer is not waited for as long.
func (x *explainer) send(a tried, expected bool) (host int, source netip.Addr, c net.Conn) {
	x.t.Helper()
	patience := 250 * time.Millisecond
	if expected {
		patience = nettest.Patience
	}
	if a.protocol == "icmp" {
		before := make([]int, len(x.farm.Hosts))
		for i, h := range x.farm.Hosts {
			before[i] = h.Pings()
		}
		x.pings.Go(func() { _ = nettest.Ping(x.farm.Clients, a.from.Addr(), a.to.Addr(), a.from.Port()) }) // who heard it is asked here
		for end := time.Now().Add(patience); time.Now().Before(end); {
			for i, h := range x.farm.Hosts {
				if h.Pings() > before[i] {
					return i + 1, source, nil
				}
			}
		}
		return 0, source, nil
	}
	d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(a.from)}
	if a.protocol == "udp" {
		d.LocalAddr = net.UDPAddrFromAddrPort(a.from)
	}
	var err error
	x.farm.Clients.Do(func() { c, err = d.DialContext(context.Background(), a.protocol, a.to.String()) })
	if err != nil {
		return 0, source, nil
	}
	if tcp, is := c.(*net.TCPConn); is {
		_ = tcp.SetLinger(0) // so that none is left in TIME_WAIT
	} else {
		_, _ = c.Write([]byte("hello\n")) // that it is lost shows
	}
	_ = c.SetReadDeadline(time.Now().Add(patience)) // a connection that is open takes one
	line, _ := bufio.NewReader(c).ReadString('\n')
	at := ""
	if n, _ := fmt.Sscan(line, &host, &at, &at); n != 3 {
		_ = c.Close()
		return 0, source, nil
	}
	seen, err := netip.ParseAddrPort(at)
	if err != nil {
		x.t.Fatal(err)
	}
	return host, seen.Addr().Unmap(), c
}

// answered says whether a server is told that may get a flow.
func answered(e *flow.Explanation) bool {
	return slices.ContainsFunc(e.Ways, func(w flow.Way) bool { return w.End == "passed" && w.To.IsValid() })
}

// agrees says what was told otherwise; "": nothing.
func (x *explainer) agrees(e *flow.Explanation, host int, source netip.Addr) string {
	limits := false
	for i := range e.Ways {
		w := &e.Ways[i]
		at := 0
		if w.End == "passed" && w.To.IsValid() {
			at = x.farm.HostOf(w.To.Addr())
		}
		if at == host && (host == 0 || w.Server == [...]string{1: "one", 2: "two", 3: "three"}[host] || w.Farm == "last") && within(w.Source, source) {
			return ""
		}
		for _, b := range w.Bounds {
			for _, s := range b.IfOver {
				limits = limits || host == 0 && s.End == "dropped" || host > 0 && strings.HasSuffix(s.Server, [...]string{1: "/one", 2: "/two", 3: "/three"}[host])
			}
		}
	}
	if limits {
		x.over["over a limit"]++
		return ""
	}
	return "no such way"
}

// within says whether a source is that which was told; the zero Addr: it is not known.
func within(told string, source netip.Addr) bool {
	low, high, is := strings.Cut(strings.TrimSuffix(told, ", the same for each client"), " to ")
	if !is {
		high = low
	}
	from, err1 := netip.ParseAddr(low)
	to, err2 := netip.ParseAddr(high)
	return !source.IsValid() || err1 == nil && err2 == nil && !source.Less(from) && !to.Less(source)
}

func toldText(e *flow.Explanation) string {
	var b strings.Builder
	_ = e.WriteText(&b, true) // a Builder takes all
	return b.String()
}
