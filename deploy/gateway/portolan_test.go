package gateway

import (
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/deploy/program"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

func TestMain(m *testing.M) { program.Main(m) }

// portolan is the program, at work in a gateway.
type portolan struct {
	*nettest.Gateway
	*program.Program

	strange atomic.Int64 // clients that strangers has given
}

// start starts the program in a gateway and waits until it is ready. It ends
// with the test. What it said is shown if the test fails.
func start(t testing.TB, g *nettest.Gateway, configuration string) *portolan {
	t.Helper()
	p := prepare(t, g)
	p.Begin(configuration)
	return p
}

// prepare has the program and a folder for it.
func prepare(t testing.TB, g *nettest.Gateway) *portolan {
	t.Helper()
	return &portolan{Gateway: g, Program: program.New(t, g.Space)}
}

// row waits until the row of a link is as wanted, and says how long that took.
func (p *portolan) row(link string, bound time.Duration, what string, is func(status.Row) bool) time.Duration {
	p.T.Helper()
	return p.Until(bound, func() error {
		l, err := p.API.Link(p.T.Context(), link)
		if err == nil && !is(l.Row) {
			err = fmt.Errorf("link %s is not %s: health %v, busy %v: %s", link, what, l.Row.Health, l.Row.Busy, l.Row.Why)
		}
		return err
	})
}

func (p *portolan) up(links ...string) {
	p.T.Helper()
	for _, l := range links {
		p.row(l, longEnough, "up", func(r status.Row) bool { return r.Health == status.Up })
	}
}

// strangers go to the first server of a network, each from a client that has
// been nowhere before, as long as there are such.
func (p *portolan) strangers(network int) nettest.Route {
	return func(int) (netip.Addr, netip.AddrPort) {
		return nettest.Client4(2000 - int(p.strange.Add(1))%1000), netip.AddrPortFrom(nettest.Server4(network, 1), 80)
	}
}

// within fails unless something that a rule declares a time for took no longer. What
// the machine adds does not count: it is late, and the program, since it had waited so
// long before, waited for a processor.
func (p *portolan) within(what string, took, declared, before time.Duration) {
	p.T.Helper()
	if waited := nettest.Waited(p.T, p.Cmd.Process.Pid) - before; took > declared+late+waited {
		p.T.Errorf("%s after %s, want %s; it waited %s for a processor", what, took, declared, waited)
	}
}

// waited is how long the program has waited for a processor so far.
func (p *portolan) waited() time.Duration {
	p.T.Helper()
	return nettest.Waited(p.T, p.Cmd.Process.Pid)
}

// parts waits until the slots of a group in the kernel are in these shares, to so many
// of 256 slots.
func (p *portolan) parts(group string, slack float64, shares ...int) {
	p.T.Helper()
	sum := 0
	for _, s := range shares {
		sum += s
	}
	p.Until(longEnough, func() error {
		has := slotsOf(p.T, p.Gateway, group)
		for n, s := range shares {
			if want := float64(256*s) / float64(sum); math.Abs(float64(has[n+1])-want) > slack {
				return fmt.Errorf("slots of %s by link: %v, want shares %v", group, has, shares)
			}
		}
		return nil
	})
}

// link gives a link as the program shows it.
func (p *portolan) link(name string) api.Link {
	p.T.Helper()
	l, err := p.API.Link(p.T.Context(), name)
	if err != nil {
		p.T.Fatal(err)
	}
	return l
}
