package slb

import (
	"fmt"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

// Whose flows go on in modes direct and routed (T38): with keep those of all, with
// reschedule those of who lives, while anybody does.
func TestKeeps(t *testing.T) {
	rows := status.NewBoard(10).Table()
	for _, c := range []struct {
		mode  config.FarmMode
		fails config.ServerFailure
		alive slots.IDs
		want  string
	}{
		{config.FarmDirect, config.ServerKeep, slots.IDs{1}, "[1 2]"},
		{config.FarmDirect, config.ServerReschedule, slots.IDs{1}, "[1]"},
		{config.FarmRouted, config.ServerReschedule, nil, "[1 2]"},
		{config.FarmNAT, config.ServerKeep, slots.IDs{1}, "[]"},
	} {
		f := &farm{ServerFarm: &config.ServerFarm{Mode: c.mode, OnFailure: c.fails}}
		for id := l4.ID(1); id <= 2; id++ {
			f.members = append(f.members, &member{RealServer: &config.RealServer{}, farm: f, id: id, row: status.MakeID(status.KindRealServer, "f", fmt.Sprint(id))})
		}
		if got := fmt.Sprint(f.keeps(&slots.Result{Alive: c.alive}, rows)); got != c.want {
			t.Errorf("mode %s, %s, alive %v: %s, want %s", c.mode, c.fails, c.alive, got, c.want)
		}
	}
}
