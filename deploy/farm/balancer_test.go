package farm

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/deploy/program"
	"github.com/portolan-lb/portolan/nettest"
)

func TestMain(m *testing.M) {
	nettest.Apart()
	flag.Parse()
	if p := flag.Lookup("test.parallel"); p.Value.String() == p.DefValue { // tests wait for the world most of the time
		_ = p.Value.Set("4") // it is a number
	}
	program.Main(m)
}

// balancer is the program, at work before a farm.
type balancer struct {
	*nettest.Farm
	*program.Program
	six bool // IPv6 alone: what uses to and client is about it, and use leaves IPv4 out
}

// before has the program before a farm. Use starts it.
func before(t testing.TB, f *nettest.Farm) *balancer {
	t.Helper()
	return &balancer{Farm: f, Program: program.New(t, f.Space)}
}

// before6 is before where virtual servers, servers and pools have no IPv4
// address.
func before6(t testing.TB, f *nettest.Farm) *balancer {
	t.Helper()
	b := before(t, f)
	b.six = true
	return b
}

// use starts the program with a configuration, or puts another in place of the
// one that it has.
func (b *balancer) use(configuration fmt.Stringer) {
	b.T.Helper()
	c := configuration.String()
	if b.six {
		c = beforeIPv6.ReplaceAllString(c, "addresses: [")
	}
	if b.Cmd == nil {
		b.Begin(c)
		return
	}
	b.Apply(c)
}

// beforeIPv6 is the IPv4 half of a list of addresses of both families.
var beforeIPv6 = regexp.MustCompile(`addresses: \[[0-9.]+, `)

// part runs a part of a test, which fails by itself.
func (b *balancer) part(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		defer func(was testing.TB) { b.T = was }(b.T)
		b.T = t
		f(t)
	})
}

// text is a configuration that is written out.
type text string

func (t text) String() string { return string(t) }

// farm makes a farm of three hosts, which serve ports 80 and 81.
func farm(t testing.TB, layout nettest.FarmLayout) *nettest.Farm {
	t.Helper()
	if layout.Hosts == 0 {
		layout.Hosts = 3
	}
	f := nettest.NewFarm(t, layout)
	f.Serve(80, 81)
	return f
}

// setup is a configuration in the making: a virtual server web, TCP port 80 of
// Virtual4(1) and Virtual6(1), and udp beside it, with the farm web of a server
// h1, h2, ... for each host; and what a test adds.
type setup struct {
	*nettest.Farm
	farm    string         // further keys of the farm, after a comma
	server  map[int]string // of server hN; 0: of those without
	serve   string         // of what web and udp serve
	probe   string         // of the probe of the farm; empty: a quick one
	unasked bool           // the farm has no probe
	virtual string         // further virtual servers, as lines of a list
	farms   string         // further farms
	rest    string         // other sections
}

// The probe of the farm: failover = (fall - 1) x interval + timeout (1.2.27, T51).
const (
	interval   = 300 * time.Millisecond
	timeout    = 250 * time.Millisecond
	detected   = interval + timeout
	quickProbe = "kind: tcp, interval: 300ms, timeout: 250ms, rise: 2, fall: 2"
)

// late is how much longer than it should take a test waits for what must come: a
// machine may be slow. It bounds nothing.
const late = 30 * time.Second

func (s setup) String() string {
	var b strings.Builder
	b.WriteString("version: 1\nnode: {name: lb}\n")
	probe := s.probe
	if probe == "" {
		probe = quickProbe
	}
	asked := ", probes: [alive]"
	if s.unasked {
		asked = ""
	} else {
		fmt.Fprintf(&b, "probes: [{name: alive, %s}]\n", probe)
	}
	fmt.Fprintf(&b, "virtualServers:\n%s%s%s", virtual("web", s.Farm, 1, "80", "farm: web"+s.serve), virtual("udp", s.Farm, 1, "80", "type: udp, farm: web"+s.serve), s.virtual)
	fmt.Fprintf(&b, "serverFarms:\n  - {name: web%s%s, servers: [%s]}\n%s%s", asked, s.farm, s.servers(), s.farms, s.rest)
	return b.String()
}

// servers writes a server for each host.
func (s setup) servers() string {
	var all []string
	for _, h := range s.Hosts {
		more := s.server[h.N]
		if more == "" {
			more = s.server[0]
		}
		all = append(all, fmt.Sprintf("{name: h%d, addresses: [%s, \"%s\"], port: 80%s}", h.N, h.Addr4, h.Addr6, more))
	}
	return strings.Join(all, ", ")
}

// bare is a farm of the hosts whose ports stay as they are, with more keys.
func (s setup) bare(keys string) string {
	return "  - {name: bare" + keys + ", servers: [" + strings.ReplaceAll(s.servers(), ", port: 80", "") + "]}\n"
}

// virtual writes a virtual server at the n-th addresses.
func virtual(name string, f *nettest.Farm, n int, port, serve string) string {
	if port != "" {
		port = ", port: " + port
	}
	return fmt.Sprintf("  - {name: %s, addresses: [%s, \"%s\"]%s, serve: {%s}}\n", name, f.Virtual4(n), f.Virtual6(n), port, serve)
}

// to goes to the n-th virtual address of the family that the test is about, and
// client is a client of it.
func (b *balancer) to(n int, port uint16) nettest.Route {
	if b.six {
		return b.to6(n, port)
	}
	return b.to4(n, port)
}

func (b *balancer) client(n int) netip.Addr {
	if b.six {
		return b.Client6(n)
	}
	return b.Client4(n)
}

// clients is how many addresses to4 and to6 spread connections over.
const clients = 97

// to4 goes from many clients to a port of the n-th virtual address; to6 does so
// over IPv6.
func (b *balancer) to4(n int, port uint16) nettest.Route {
	return func(i int) (netip.Addr, netip.AddrPort) {
		return b.Client4(i % clients), netip.AddrPortFrom(b.Virtual4(n), port)
	}
}

func (b *balancer) to6(n int, port uint16) nettest.Route {
	return func(i int) (netip.Addr, netip.AddrPort) {
		return b.Client6(i % clients), netip.AddrPortFrom(b.Virtual6(n), port)
	}
}

// from has one client, the n-th, go where a route goes.
func (b *balancer) from(n int, route nettest.Route) nettest.Route {
	return func(i int) (netip.Addr, netip.AddrPort) {
		_, to := route(i)
		if to.Addr().Is4() {
			return b.Client4(n), to
		}
		return b.Client6(n), to
	}
}

// twins are both families: everything holds for each (test 7).
func (b *balancer) twins(n int, port uint16) map[string]nettest.Route {
	return map[string]nettest.Route{"IPv4": b.to4(n, port), "IPv6": b.to6(n, port)}
}

// takes waits until connections go to these hosts and to no other, and none
// fails; bound is how long that should take.
func (b *balancer) takes(bound time.Duration, route nettest.Route, hosts ...int) time.Duration {
	b.T.Helper()
	return b.Until(bound+late, func() error { return only(b.Connect(24, route), hosts...) })
}

// only says what is wrong unless connections went to these hosts, all of them,
// and to no other, and none failed.
func only(s nettest.Spread, hosts ...int) error {
	for h, n := range s.By {
		if s.Failed > 0 || (n > 0) != slices.Contains(hosts, h) {
			return fmt.Errorf("connections go %v, want hosts %v", s, hosts)
		}
	}
	return nil
}

// shared fails unless connections are spread in these shares.
func shared(t testing.TB, what string, got nettest.Spread, slack float64, shares ...float64) {
	t.Helper()
	if err := uneven(got, slack, shares...); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// uneven says what is wrong unless connections are spread in these shares, each
// within slack of all of them, and none has failed.
func uneven(got nettest.Spread, slack float64, shares ...float64) error {
	sum := 0.
	for _, s := range shares {
		sum += s
	}
	bad := got.Failed > 0 || got.By[0] > 0
	for n, s := range shares {
		want := float64(got.OK()) * s / sum
		bad = bad || math.Abs(float64(got.By[n+1])-want) > slack*float64(got.OK())+1e-9
	}
	if bad {
		return fmt.Errorf("%v, want shares %v within %.1f %%", got, shares, 100*slack)
	}
	return nil
}

// lot is how far the share p of n things drawn by lot may be from p, as a share:
// four standard deviations, which one in 16,000 passes.
func lot(n int, p float64) float64 { return 4 * math.Sqrt(p*(1-p)/float64(n)) }

// server gives how a server of a farm stands.
func (b *balancer) server(farm, name string) (api.RealServer, error) {
	list, err := b.API.RealServers(b.T.Context(), farm, 0)
	for _, s := range list.Servers {
		if s.Server == name {
			return s, nil
		}
	}
	return api.RealServer{}, errors.Join(err, fmt.Errorf("no server %s in farm %s", name, farm))
}

// becomes waits until a server of a farm stands so.
func (b *balancer) becomes(farm, name, what string, is func(s api.RealServer) bool) {
	b.T.Helper()
	b.Until(late, func() error {
		s, err := b.server(farm, name)
		if err == nil && !is(s) {
			err = fmt.Errorf("%s/%s is not %s: %s, share %.1f %%, %s", farm, name, what, s.State, s.Share, s.Why)
		}
		return err
	})
}

// hold has an operator take a server of the farm web out, or put it back.
func (b *balancer) hold(server string, out bool) {
	b.T.Helper()
	verb := "release"
	if out {
		verb = "hold"
	}
	b.Does(verb, "realServer/web/"+server, "--reason", "test")
}

// lose has a server's program die, or live again; a probe finds it.
func (b *balancer) lose(host int, dead bool) {
	b.T.Helper()
	b.Hosts[host-1].Die(80, dead)
}

// told says what is wrong unless a row had these events, in this order: "old to
// new".
func (b *balancer) told(row string, events ...string) error {
	list, err := b.API.Events(b.T.Context(), 0, 0)
	for _, e := range list {
		if string(e.ID) == row && len(events) > 0 && e.Old+" to "+e.New == events[0] {
			events = events[1:]
		}
	}
	if err == nil && len(events) > 0 {
		err = fmt.Errorf("%s had no event %q of %v", row, events[0], list)
	}
	return err
}

// count gives a counter of get slb; 0 if there is none.
func (b *balancer) count(kind, name, what string) int {
	b.T.Helper()
	list, err := b.API.Served(b.T.Context(), api.CounterQuery{})
	if err != nil {
		b.T.Fatal(err)
	}
	for _, h := range list.Counters {
		if h.Kind == kind && h.Name == name && h.What == what {
			return int(h.Connections)
		}
	}
	return 0
}

// check runs portolan check on a configuration and gives what it says.
func (b *balancer) check(configuration string) (said string, err error) {
	b.T.Helper()
	name := b.File("checked.yaml")
	if err := os.WriteFile(name, []byte(configuration), 0o644); err != nil {
		b.T.Fatal(err)
	}
	return b.Command("check", name)
}

// refused fails unless check refuses a configuration and says all of these.
func (b *balancer) refused(what, configuration string, words ...string) {
	b.T.Helper()
	said, err := b.check(configuration)
	if err == nil {
		b.T.Errorf("%s: not refused", what)
		return
	}
	for _, w := range words {
		if !strings.Contains(said, w) {
			b.T.Errorf("%s: refused without a word of %q:\n%s", what, w, said)
		}
	}
}
