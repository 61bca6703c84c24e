package kernel

import "testing"

// Draws that are the last part of a key are one where they lead to the same element,
// so that a farm of 1024 slots has as many outcomes as servers.
func TestOutcomesOfJoinedDraws(t *testing.T) {
	slots := NewElements()
	for n := range uint32(1024) {
		if n%4 > 0 { // of the first of four there is none
			slots.Put(Element{Key: Key(Number(5), Number(n)), Data: Number(10 + n%2)})
		}
	}
	w := worldOf([]Rule{{Do: []Step{SetPriority{Const(Number(5))}}}, {Do: []Step{SetMark{^uint32(0), 1}}},
		{Do: []Step{CopyMark{Lookup{Join{Priority, Turn{1024}}, "slots"}}}}})
	w.Tables[0].Sets = []Set{{Name: "slots", Key: []Type{TypeNumber, TypeNumber}, Data: []Type{TypeNumber}, Elements: slots}}
	all, err := w.Outcomes("prerouting", tcp4)
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint32]float64{}
	for _, o := range all {
		got[o.Trace.Packet.Mark] += o.Share
	}
	if len(all) != 3 || got[1] != .25 || got[10] != .25 || got[11] != .5 {
		t.Errorf("%d outcomes, %v", len(all), got)
	}
}
