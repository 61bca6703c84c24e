package outbound

import (
	"time"

	"github.com/portolan-lb/portolan/status"
)

// Fill gives the groups of a plan that nobody runs the links that they would
// have with the rows as they stand: for those who only want to look.
func (p *Plan) Fill(rows *status.Table, now time.Time) error {
	for _, v := range p.variants {
		g, err := NewGroup(v.Group, p.model.Links, p.Number)
		if err != nil {
			return err
		}
		_, result := g.Tick(Input{Table: rows, Now: now, Every: tickEvery}, Load{}, State{})
		v.Set(&result)
	}
	return nil
}
