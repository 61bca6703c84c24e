package daemon

import (
	"net/netip"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/link"
	"github.com/portolan-lb/portolan/probe"
)

// openLinks makes the links, and opens the door to the kernel for them. Without
// it we serve, and say so: what interfaces carry is then unknown. The caller
// calls closeKernel in the end.
func (d *Daemon) openLinks() (closeKernel func()) {
	opts := link.Options{Log: d.log, Moved: d.moved, DeadTime: d.deadTime, Mark: d.linkMark}
	closeKernel = func() {}
	if k, err := kernel.Open(); err != nil {
		d.log.Error("interfaces, next hops and rates of links are unknown", "err", err)
	} else {
		opts.Kernel, closeKernel = k, k.Close
	}
	d.links = link.New(d.board, opts)
	return closeKernel
}

// deadTime is how long caches go on sending clients over a link.
func (d *Daemon) deadTime(link string) time.Duration {
	if b := d.running.Load(); b != nil {
		return b.DNS.DeadTime(link)
	}
	return 0
}

// probeFor has everything probed that a configuration asks for, over the links as
// they stand. The links of b are wanted already.
func (d *Daemon) probeFor(b *Built) {
	plan := probe.CompileOver(b.Model, probe.Learnt{Way: d.way, DNSServer: d.learner.Addresses, RealServer: d.serverAddresses(b)})
	d.prober.Want(plan)
	servers := plan.Servers()
	d.evidence.Store(&servers)
}

// way is the next hop of a link that was learnt, the zero Addr: none is known;
// and the mark that leads over it.
func (d *Daemon) way(name string) (netip.Addr, uint32) {
	w, _ := d.links.Way(name)
	return w.NextHop, w.Pin.Mark
}

// moved has the next hops probed that links have now.
func (d *Daemon) moved() {
	d.wanting.Lock()
	defer d.wanting.Unlock()
	if b := d.running.Load(); b != nil {
		d.probeFor(b)
	}
}
