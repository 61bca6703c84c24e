package slots

import (
	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
)

// SpillOf gives what makes room for lower priorities, in pick's words.
func SpillOf(words []config.Spill) (spill pick.Spill) {
	for _, s := range words {
		switch s {
		case config.SpillDown:
			spill |= pick.SpillDown
		case config.SpillBusy:
			spill |= pick.SpillBusy
		case config.SpillFull:
			spill |= pick.SpillFull
		}
	}
	return spill
}

// DirectionOf gives the direction that a word of the configuration names; total
// if it names none.
func DirectionOf(word string) busy.Direction {
	for d := range busy.Directions {
		if busy.Direction(d).String() == word {
			return busy.Direction(d)
		}
	}
	return busy.Total
}

// ByDirection gives bounds of bandwidth in bits a second; 0 is none.
func ByDirection(b config.Bandwidths) [busy.Directions]float64 {
	return [busy.Directions]float64{busy.Total: float64(b.Total), busy.In: float64(b.In), busy.Out: float64(b.Out)}
}
