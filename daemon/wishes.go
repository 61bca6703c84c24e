package daemon

import (
	"time"

	"github.com/portolan-lb/portolan/dnsproxy"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/slb"
	"github.com/portolan-lb/portolan/slb/l4"
)

// OwnerWishes is what one owner would have Linux be like.
type OwnerWishes struct {
	Owner  string
	Wishes *kernel.Wishes
}

// Wishes gives what a configuration that nobody runs would have Linux be like,
// owner by owner, before anything is measured or probed. What depends on the
// interfaces of the machine is missing: addresses, and next hops that are learnt.
func (b *Built) Wishes() (list []OwnerWishes, err error) {
	if b.Outbound != nil {
		now := time.Now()
		if err := b.Outbound.Fill(b.Rows(), now); err != nil {
			return nil, err
		}
		list = append(list, OwnerWishes{outbound.Owner, b.Outbound.Wishes(outbound.Facts{Now: now})})
	}
	if b.SLB != nil {
		now := time.Now()
		if err := slb.Fill(b.SLB, b.Model, b.Serving, b.Rows(), now); err != nil {
			return nil, err
		}
		list = append(list, OwnerWishes{slb.Owner, b.SLB.Wishes(l4.Facts{Now: now})})
	}
	if w := b.Proxy.Wishes(nil); w != nil {
		list = append(list, OwnerWishes{dnsproxy.Owner, w})
	}
	return list, nil
}

// Sysctls gives the settings that a configuration wishes for on a machine with
// these interfaces.
func (b *Built) Sysctls(interfaces []kernel.Interface) (list []kernel.Sysctl) {
	if b.Outbound != nil {
		list = b.Outbound.Wishes(outbound.Facts{Now: time.Now(), Interfaces: interfaces}).Sysctls
	}
	if b.SLB != nil {
		list = append(list, b.SLB.Wishes(l4.Facts{Now: time.Now(), Interfaces: interfaces}).Sysctls...)
	}
	if w := b.Proxy.Wishes(interfaces); w != nil {
		list = append(list, w.Sysctls...)
	}
	return list
}
