package config

import "testing"

func TestModel_MayCNAME(t *testing.T) {
	m := &Model{Pools: []*Pool{
		{Name: "plain", Members: []*Member{{VirtualServer: "a"}}},
		{Name: "member", Members: []*Member{{VirtualServer: "a"}, {CNAME: "m.example.org."}}},
		{Name: "nested", Members: []*Member{{Pool: "member"}}},
		{Name: "down", OnDown: []Rung{{Action: RungAll}, {CNAME: "d.example.org."}}},
		{Name: "rung", Members: []*Member{{Pool: "ring"}}, OnDown: []Rung{{Pool: "down"}}},
		{Name: "ring", Members: []*Member{{Pool: "rung"}}},
	}}
	for pool, want := range map[string]string{"plain": "", "member": "m.example.org.", "nested": "m.example.org.",
		"down": "d.example.org.", "rung": "d.example.org.", "ring": "d.example.org.", "none": ""} {
		if got := m.MayCNAME(pool); got != want {
			t.Errorf("pool %s: got %q, want %q", pool, got, want)
		}
	}
}
