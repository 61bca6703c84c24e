package outbound

import (
	"fmt"
	"testing"

	"github.com/portolan-lb/portolan/slots"
)

// 1.2.16, 1.2.19: the best that is available, of three, in ten bits each.
func TestRanks_1_2_16(t *testing.T) {
	r := RanksOf(3, 1023, 1, 7)
	if r != 3|1023<<10|1<<20 || fmt.Sprint(r.Links()) != "[3 1023 1]" {
		t.Errorf("packed as %#x: %v", uint32(r), r.Links())
	}
	for _, tt := range []struct {
		available slots.IDs
		want      slots.ID
	}{
		{slots.IDs{1, 3, 1023}, 3}, {slots.IDs{1, 1023}, 1023}, {slots.IDs{1, 2}, 1}, {slots.IDs{7}, 0}, {nil, 0},
	} {
		if got := r.First(tt.available); got != tt.want {
			t.Errorf("of %v: %d, want %d", tt.available, got, tt.want)
		}
	}
	if got := RanksOf().First(slots.IDs{0, 1}); got != 0 {
		t.Errorf("no ranks give %d", got)
	}
	if got := RanksOf(5).Links(); fmt.Sprint(got) != "[5]" {
		t.Errorf("one rank: %v", got)
	}
}
