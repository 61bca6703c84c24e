package slb

import (
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

// Fill gives the farms of a plan that nobody runs the servers that they would have
// with the rows as they stand: for those who only want to look. Servers by name
// have no address.
func Fill(p *l4.Plan, m *config.Model, n l4.Numbers, rows *status.Table, now time.Time) error {
	in := slots.Input{Table: rows, Now: now, Every: tickEvery}
	s := New(Options{})
	s.plan, s.model = p, m
	for _, c := range m.ServerFarms {
		f, err := s.newFarm(c, n)
		if err != nil {
			return err
		}
		_, f.last = f.group.Tick(in, slots.Load{}, slots.State{})
		f.tell(p, &f.last)
	}
	return nil
}
