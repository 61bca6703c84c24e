package farm

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/nettest"
)

// explained has a virtual server for each way to a server.
const explained = `
persistence: [{name: clients, timeout: 10m}]
slb:
  policies:
    - name: rules
      rules:
        - {class: bad, action: drop}
        - {class: alt, action: {farm: last}}
        - {class: frail, action: {farm: frail, onFailure: continue}}
        - {class: none, action: {farm: nobody}}
  classes:
    - {name: bad, sources: [10.10.1.0/29, "fd10:10::/125"]}
    - {name: alt, ports: [tcp/81]}
    - {name: frail, sources: [10.10.1.8/29]}
    - {name: none, sources: [10.10.1.16/29]}
`

// What explain flow says of random flows of every kind is what becomes of them
// when they are sent: the server, or dropped; and of open sessions where they
// are.
func TestB21_Explain_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	s := setup{Farm: b.Farm, unasked: true, rest: explained}
	all := s.servers()
	for _, f := range []string{"source, algorithm: source-hash", "pair, algorithm: source-port-hash", "lot, algorithm: random"} {
		s.farms += fmt.Sprintf("  - {name: %s, servers: [%s]}\n", f, all)
	}
	s.farms += s.bare(", algorithm: source-hash") + alone(b.Farm) + fmt.Sprintf("  - {name: last, servers: [{name: h, addresses: [%s, \"%s\"]}]}\n", b.Hosts[2].Addr4, b.Hosts[2].Addr6) +
		fmt.Sprintf("  - {name: frail, servers: [{name: h, addresses: [%s, \"%s\"]}]}\n  - {name: nobody}\n", b.Hosts[0].Addr4, b.Hosts[0].Addr6)
	for n, serve := range []string{"farm: source", "farm: pair", "farm: lot", "farm: web, persistence: clients", "farm: two, policy: rules", "farm: frail, backup: last", "farm: nobody"} {
		s.virtual += virtual(fmt.Sprint("vs", n+2), b.Farm, n+2, "", "ports: [\"80-81\"], "+serve)
	}
	s.virtual += virtual("any", b.Farm, 9, "", "type: ip, farm: bare")
	b.use(s)
	b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
	b.Does("hold", "realServer/frail/h", "--reason", "test")
	b.Until(late, func() error { return only(b.InTurn(1, b.to4(7, 80)), 3) })
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	certain, dropped := 0, 0
	for n := range 160 {
		client, vs, port := r.IntN(40), 1+r.IntN(10), uint16(80+r.IntN(2))
		from, to := b.Client4(client), b.Virtual4(vs)
		if r.IntN(3) == 0 {
			from, to = b.Client6(client), b.Virtual6(vs)
		}
		host, ways := b.asTold(seed, netip.AddrPortFrom(from, uint16(20000+n)), netip.AddrPortFrom(to, port))
		if ways == 1 {
			certain++
		}
		if host == 0 {
			dropped++
		}
	}
	t.Logf("160 flows, %d told for certain, %d dropped", certain, dropped)
	if certain < 40 || dropped < 5 {
		t.Errorf("too little was tried")
	}
}

// asTold fails unless what explain flow says of a connection becomes of it, and
// of it again while it is open. It gives the host that it came to, 0 if none, and
// how many it might have come to.
func (b *balancer) asTold(seed uint64, src, dst netip.AddrPort) (host, mights int) {
	b.T.Helper()
	var told, again flow.Explanation
	if err := json.Unmarshal([]byte(b.explains(src, dst, "tcp")), &told); err != nil {
		b.T.Fatal(err)
	}
	ways := b.ways(&told)
	patience := 5 * nettest.Patience
	if len(ways) == 1 && ways[0] {
		patience = 150 * time.Millisecond // nobody is waited for
	}
	host, talk := b.sent(src, dst, patience)
	if !ways[host] {
		b.T.Errorf("seed %d: %s to %s came to host %d, and is told as %v:\n%s", seed, src, dst, host, ways, b.shown(&told))
	}
	if host == 0 {
		return host, len(ways)
	}
	defer talk.Close()
	if err := json.Unmarshal([]byte(b.explains(src, dst, "tcp")), &again); err != nil {
		b.T.Fatal(err)
	}
	if open := b.ways(&again); again.Session == nil || len(open) != 1 || !open[host] {
		b.T.Errorf("seed %d: %s to %s is open at host %d, and is told as %v:\n%s", seed, src, dst, host, open, b.shown(&again))
	}
	return host, len(ways)
}

// sent sends a flow from a port, and gives the host that answered, 0 if none.
func (b *balancer) sent(from, to netip.AddrPort, patience time.Duration) (int, *nettest.Talk) {
	talk, err := nettest.CallFrom(b.Clients, from, to, patience)
	if err != nil {
		return 0, nil
	}
	return talk.First.Host, talk
}

// ways gives the hosts that an explanation says a connection may come to; 0 is
// none.
func (b *balancer) ways(e *flow.Explanation) map[int]bool {
	hosts := map[int]bool{}
	for _, w := range e.Ways {
		host := 0
		if text, err := json.Marshal(w); err == nil && w.End != "dropped" {
			for _, h := range b.Hosts {
				if strings.Contains(string(text), h.Addr4.String()) || strings.Contains(string(text), h.Addr6.String()) {
					host = h.N
				}
			}
		}
		hosts[host] = true
	}
	return hosts
}

func (b *balancer) shown(e *flow.Explanation) string {
	var text strings.Builder
	_ = e.WriteText(&text, true) // a Builder takes all
	return text.String()
}

// explains asks what becomes of a connection, and gives it as JSON.
func (b *balancer) explains(from, to netip.AddrPort, protocol string) string {
	b.T.Helper()
	a, c := from.String(), to.String()
	if protocol == "icmp" {
		a, c = from.Addr().String(), to.Addr().String()
	}
	return b.Does("explain", "flow", "--from", a, "--to", c+"/"+protocol, "--in", "front0", "-o", "json")
}
