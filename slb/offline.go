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
	_, _, err := filled(p, m, n, rows, now)
	return err
}

// filled gives who has filled a plan, and what he looked at.
func filled(p *l4.Plan, m *config.Model, n l4.Numbers, rows *status.Table, now time.Time) (*SLB, slots.Input, error) {
	in := slots.Input{Table: rows, Now: now, Every: tickEvery}
	s := New(Options{})
	s.plan, s.model, s.farms = p, m, map[string]*farm{}
	for _, c := range m.ServerFarms {
		f, err := s.newFarm(c, n)
		if err != nil {
			return nil, in, err
		}
		f.state, f.last = f.group.Tick(in, slots.Load{}, slots.State{})
		f.tell(p, &f.last, rows)
		s.farms[c.Name] = f
	}
	return s, in, nil
}
