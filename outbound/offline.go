package outbound

import (
	"time"

	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

// Fill gives the groups of a plan that nobody runs the links that they would
// have with the rows as they stand: for those who only want to look.
func (p *Plan) Fill(rows *status.Table, now time.Time) error {
	for _, v := range p.variants {
		g, err := newGroup(v.Group, p.model.Links, p.Number)
		if err != nil {
			return err
		}
		_, result := g.Tick(slots.Input{Table: rows, Now: now, Every: tickEvery}, slots.Load{}, slots.State{})
		v.Set(&result)
	}
	return nil
}
