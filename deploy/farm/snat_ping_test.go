package farm

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// Servers see an address of the pool whatever is sent, ICMP too, which has no ports
// (1.1.16: type ip); it is answered by way of this node, and takes no port of the pool.
func TestB05_PoolWithoutPorts_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{Hosts: 1}))
	b.use(setup{Farm: b.Farm, unasked: true, farm: ", snatPool: pool", virtual: virtual("any", b.Farm, 2, "", "type: ip, farm: bare"),
		farms: setup{Farm: b.Farm}.bare(", snatPool: pool"),
		rest:  "snatPools: [{name: pool, addresses: [10.30.9.1, \"fd10:30::9:1\"], interface: back0}]\n"})
	b.Until(late, func() error { return only(b.InTurn(1, b.to4(2, 80)), 1) })
	host := b.Hosts[0]
	for family, match := range []string{"ip saddr %s10.30.9.1 icmp type echo-request", "ip6 saddr %sfd10:30::9:1 icmpv6 type echo-request"} {
		pooled := host.Watch(fmt.Sprint("pooled", family), "input priority 0", fmt.Sprintf(match, ""))
		others := host.Watch(fmt.Sprint("others", family), "input priority 0", fmt.Sprintf(match, "!= "))
		from, to := [2]netip.Addr{b.Client4(0), b.Client6(0)}[family], [2]netip.Addr{b.Virtual4(2), b.Virtual6(2)}[family]
		b.Until(late+nettest.Patience, func() error { return nettest.Ping(b.Clients, from, to, uint16(100+family)) })
		if pooled.Packets() == 0 || others.Packets() > 0 {
			t.Errorf("family %d: the server sees %d pings from the pool, %d from others", family, pooled.Packets(), others.Packets())
		}
	}
	if out := b.Must("", "nft", "list", "chain", "inet", "portolan_slb", "sources"); !strings.Contains(out, "snat") {
		t.Errorf("nft does not list the rules:\n%s", out)
	}
	b.Until(time.Second+late, func() error {
		said, err := b.Command("get", "snatpools")
		if err == nil && strings.Contains(said, "icmp") {
			err = fmt.Errorf("pings take ports of the pool:\n%s", said)
		}
		return err
	})
}
