package farm

import (
	"flag"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

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
}

// before has the program before a farm. Use starts it.
func before(t testing.TB, f *nettest.Farm) *balancer {
	t.Helper()
	return &balancer{Farm: f, Program: program.New(t, f.Space)}
}

// use starts the program with a configuration, or puts another in place of the
// one that it has.
func (b *balancer) use(configuration fmt.Stringer) {
	b.T.Helper()
	if b.Cmd == nil {
		b.Begin(configuration.String())
		return
	}
	b.Apply(configuration.String())
}

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

// late is what a busy machine may add to a time.
const late = 2 * time.Second

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
// fails.
func (b *balancer) takes(bound time.Duration, route nettest.Route, hosts ...int) time.Duration {
	b.T.Helper()
	return b.Until(bound+late+nettest.Patience, func() error { return only(b.Connect(24, route), hosts...) })
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

// shared fails unless connections are spread in these shares, each within slack
// of all of them, and none has failed.
func shared(t testing.TB, what string, got nettest.Spread, slack float64, shares ...float64) {
	t.Helper()
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
		t.Errorf("%s: %v, want shares %v within %.1f %%", what, got, shares, 100*slack)
	}
}

// lot is how far the share p of n things drawn by lot may be from p: three
// standard deviations, as a share.
func lot(n int, p float64) float64 { return 3 * math.Sqrt(p*(1-p)/float64(n)) }

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
