package proximity

import (
	"context"
	"net/netip"

	"github.com/portolan-lb/portolan/probe"
)

// measureICMP makes an echo exchange: at most two packets.
func measureICMP(ctx context.Context, p Path, target netip.Addr) (Sample, error) {
	r, err := p.exchange(ctx, func(ctx context.Context) (probe.Reply, error) { return p.Pin.Echo(ctx, target) })
	return Sample{RTT: r.RTT, Hops: hopsOf(r.TTL), Via: target}, err
}
