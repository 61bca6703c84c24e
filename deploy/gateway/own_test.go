package gateway

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// Health checks of a link leave by it while nobody else may (T52); traceroute
// through the gateway shows each router, and path MTU discovery works.
func TestA20_TheGatewayItself_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	p := start(t, g, setup{Gateway: g, rest: equal("", "", "")}.String())
	p.up("isp1", "isp2", "isp3")
	t.Run("probes", func(t *testing.T) {
		p.Does("hold", "link/isp1", "--reason", "test")
		p.Until(longEnough, func() error {
			if tally := g.Connect(20, web4); tally.By[1]+tally.Failed > 0 {
				return fmt.Errorf("%v", tally)
			}
			return nil
		})
		for n, i := range g.ISPs {
			before := i.Asked()
			p.Until(longEnough, func() error {
				if got := i.Asked() - before; got < 3 {
					return fmt.Errorf("isp%d's router was asked %d times", n+1, got)
				}
				return nil
			})
		}
		p.Does("release", "link/isp1", "--reason", "test")
		g.ISPs[1].Silence(true)
		p.row("isp2", longEnough, "down", func(r status.Row) bool { return r.Health == status.Down })
		if r := p.link("isp1").Row; r.Health != status.Up {
			t.Errorf("isp1 fell with isp2: %s", r.Why)
		}
		g.ISPs[1].Silence(false)
		p.up("isp2")
	})
	t.Run("traceroute", func(t *testing.T) {
		for _, c := range []struct{ from, to, gate netip.Addr }{
			{nettest.Client4(1), nettest.Server4(0, 1), nettest.Gate4}, {nettest.Client6(1), nettest.Server6(0, 1), nettest.Gate6},
		} {
			for _, how := range [][]string{{"-U"}, {"-I"}} {
				args := append([]string{"-n", "-q", "1", "-N", "1", "-w", "5", "-m", "6", "-s", c.from.String()}, append(how, c.to.String())...)
				out := g.LAN.Must("", "traceroute", args...)
				hops := regexp.MustCompile(`(?m)^ *\d+ +(\S+)`).FindAllStringSubmatch(out, -1)
				router := false
				for _, i := range g.ISPs {
					router = router || len(hops) > 1 && (hops[1][1] == i.Router4.String() || hops[1][1] == i.Router6.String())
				}
				if len(hops) != 3 || hops[0][1] != c.gate.String() || !router || hops[2][1] == "*" || c.to.Is4() && hops[2][1] != c.to.String() { // over IPv6 the last answers from an address of its own
					t.Errorf("traceroute %s %s:\n%s", how, c.to, out)
				}
			}
		}
	})
	t.Run("path MTU", func(t *testing.T) {
		for _, i := range g.ISPs {
			i.IP("link set dev up mtu 1300")
			g.Internet.IP(fmt.Sprintf("link set dev isp%d mtu 1300", i.N))
		}
		for _, route := range []nettest.Route{web4, web6} {
			for n := range 6 {
				from, to := route(n)
				s, source, err := nettest.TCP(g.LAN, from, to)
				if err != nil {
					t.Fatal(err)
				}
				if took, err := s.Push(300_000); err != nil {
					t.Errorf("%s by isp%d: pushing 300 kB over a path of 1300 octets: %v", to, g.ISPOf(source.Addr()), err)
				} else if took > 15*time.Second {
					t.Errorf("%s by isp%d: 300 kB took %s", to, g.ISPOf(source.Addr()), took)
				}
				s.Close()
			}
		}
		for _, i := range g.ISPs {
			i.IP("link set dev up mtu 1500")
			g.Internet.IP(fmt.Sprintf("link set dev isp%d mtu 1500", i.N))
		}
	})
	clean(t, g)
}

// FTP's data connections follow the control connection, in active and in passive
// mode (1.2.24, T37), and look up nothing anew.
func TestA23_FTP_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	nettest.ServeFTP(t, g.Internet)
	p := start(t, g, setup{Gateway: g, rest: equal("", "", "")}.String())
	p.up("isp1", "isp2", "isp3")
	for _, mode := range []string{"passive", "active"} {
		by := make([]int, 4)
		for n := range 12 {
			control, data, err := nettest.Transfer(g.LAN, nettest.Client4(n), netip.AddrPortFrom(nettest.Server4(n%5, 1), 21), mode == "passive")
			if err != nil {
				t.Fatalf("%s: %v", mode, err)
			}
			if control != data {
				t.Errorf("%s: control is seen from %s, data from or to %s", mode, control, data)
			}
			by[g.ISPOf(control)]++
		}
		if by[0] > 0 || by[1]*by[2]*by[3] == 0 {
			t.Errorf("%s: control connections are spread %v", mode, by)
		}
	}
	clean(t, g)
}

// Each setting of the kernel that breaks the gateway is reported at start, and
// repaired where that is allowed (trap 1).
func TestA24_Sysctls_Root(t *testing.T) {
	t.Parallel()
	names := []string{"net.ipv4.conf.all.src_valid_mark", "net.ipv4.fwmark_reflect", "net.ipv4.tcp_fwmark_accept"}
	for _, name := range names {
		for _, repair := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s repair=%v", name, repair), func(t *testing.T) {
				g := gateway(t, nettest.Layout{ISPs: 1})
				file := strings.ReplaceAll(strings.TrimPrefix(name, "net."), ".", "/")
				g.Set(file, "1")
				p := start(t, g, setup{Gateway: g, rest: strings.Replace(grouped("[isp1]", "", "", ""), "outbound:\n", fmt.Sprintf("outbound:\n  repairSysctls: %v\n", repair), 1) + `
dnsServers: [{name: one, address: 198.18.1.53, link: isp1}]
dnsServerPools: [{name: all, members: [one]}]
dnsProxy: {interfaces: [lan0], pool: all}
`}.String())
				p.up("isp1")
				p.Until(longEnough, func() error {
					is := strings.TrimSpace(g.Must("", "cat", "/proc/sys/net/"+file))
					switch said := p.Server.Said(); {
					case repair && is != "0":
						return fmt.Errorf("%s is %s", name, is)
					case !repair && is != "1":
						return fmt.Errorf("%s is %s, although nobody allowed to repair it", name, is)
					case !repair && !strings.Contains(said, name):
						return fmt.Errorf("nothing was said of %s:\n%s", name, said)
					}
					return nil
				})
			})
		}
	}
}

// What needs no kernel is proved by unit tests of packages slots and outbound. This
// one tells where they are, and fails if they are not there any more.
func TestA25_UnitTests(t *testing.T) {
	for what, at := range map[string]struct{ folder, name string }{
		"the layout of slots": {"slots", `LayOut`}, "water filling": {"slots", `Pour|Level`}, "priority and busy": {"slots", `Priority|Busy`},
		"hysteresis": {"slots", `T30|Activate`}, "ranking": {"outbound", `Rank`},
	} {
		files, err := filepath.Glob("../../" + at.folder + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		var text []byte
		for _, f := range files {
			more, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, more...)
		}
		found := regexp.MustCompile(`(?m)^func (Test\w*(?:` + at.name + `)\w*)\(`).FindSubmatch(text)
		if found == nil {
			t.Errorf("package %s has no test of %s", at.folder, what)
			continue
		}
		t.Logf("%s: %s", what, found[1])
	}
}
