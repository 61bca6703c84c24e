package kernel

import (
	"fmt"
	"slices"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// prefixes gives so many ranges of 256 addresses with a gap after each.
func prefixes(n int) []Element {
	list := make([]Element, n)
	for i := range uint32(n) {
		from := 0x01000000 + i*512
		list[i] = Element{Key: big32(from), End: big32(from + 255), Data: Number(i%200 + 1)}
	}
	return list
}

func benchTable(name string, set Set) Table {
	rule := Rule{Do: []Step{Is{Of: Lookup{Dest4, set.Name}, To: Number(1)}, Accept{}}}
	if len(set.Key) == 1 && set.Key[0] == TypeNumber {
		rule = Rule{Do: []Step{CopyMark{Lookup{Turn{256}, set.Name}}}}
	}
	return Table{Name: name, Sets: []Set{set}, Chains: []Chain{{Name: "c", Rules: []Rule{rule}}}}
}

// Loading a table with 10,000 prefixes, of what stands nothing but 10 prefixes
// changed, and finding nothing to do after a restart.
func BenchmarkPrefixes_Root(b *testing.B) {
	at := nettest.New(b)
	for _, n := range []int{10_000, 50_000} {
		elements := NewElements(prefixes(n)...)
		t := benchTable("portolan_bench", Set{Name: "isp", Key: []Type{TypeAddr4}, Data: []Type{TypeNumber}, Interval: true, Elements: elements})
		b.Run(fmt.Sprint("load-", n), func(b *testing.B) {
			k := stand(b, at)
			for b.Loop() {
				k.Want("bench", &Wishes{Tables: []Table{t}})
				k.synced("bench")
				b.StopTimer()
				k.Want("bench", nil)
				k.synced("bench")
				b.StartTimer()
			}
		})
		b.Run(fmt.Sprint("change-10-of-", n), func(b *testing.B) {
			k := stand(b, at)
			k.Want("bench", &Wishes{Tables: []Table{t}})
			k.synced("bench")
			for round := uint32(0); b.Loop(); round++ {
				for i := range uint32(10) {
					elements.Put(Element{Key: big32(0x01000000 + i*512), End: big32(0x01000000 + i*512 + 255), Data: Number(300 + round%2)})
				}
				k.Changed("bench", elements)
				k.synced("bench")
			}
		})
		b.Run(fmt.Sprint("restart-", n), func(b *testing.B) {
			for b.Loop() {
				k := stand(b, at)
				k.Want("bench", &Wishes{Tables: []Table{t}})
				k.synced("bench")
				k.stop()
			}
		})
		k := stand(b, at)
		k.Want("bench", nil)
		k.synced("bench")
		k.stop()
	}
}

// A map of 50,000 single addresses, as large as proximity makes it.
func BenchmarkMap_Root(b *testing.B) {
	at := nettest.New(b)
	k := stand(b, at)
	list := prefixes(50_000)
	for i := range list {
		list[i].End = nil
	}
	t := benchTable("portolan_bench", Set{Name: "prox", Key: []Type{TypeAddr4}, Data: []Type{TypeNumber}, Size: 1 << 16, Elements: NewElements(list...)})
	for b.Loop() {
		k.Want("bench", &Wishes{Tables: []Table{t}})
		k.synced("bench")
		b.StopTimer()
		k.Want("bench", nil)
		k.synced("bench")
		b.StartTimer()
	}
}

// A tick that rewrites slots of a link group: all 256, and 8.
func BenchmarkSlots_Root(b *testing.B) {
	at := nettest.New(b)
	for _, n := range []uint32{256, 8} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			k := stand(b, at)
			slots := NewElements()
			fill := func(n, data uint32) {
				for i := range n {
					slots.Put(Element{Key: Number(i), Data: Number(data)})
				}
			}
			fill(256, 1)
			k.Want("bench", &Wishes{Tables: []Table{benchTable("portolan_bench", Set{Name: "slots", Key: []Type{TypeNumber}, Data: []Type{TypeNumber}, Size: 256, Elements: slots})}})
			k.synced("bench")
			b.ReportAllocs()
			for round := uint32(0); b.Loop(); round++ {
				fill(n, 2+round%2)
				k.Changed("bench", slots)
				k.synced("bench")
			}
		})
	}
}

// Large sets go in several transactions, the ends of ranges meet, and the last
// address of all is in one.
func TestLargeSets_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	list := prefixes(150_000)
	list = slices.Insert(list, 0, Element{Key: big32(0), End: big32(9)}, Element{Key: big32(10), End: big32(10)})
	list = append(list, Element{Key: big32(0xffffff00), End: big32(0xffffffff)})
	for i := range list {
		list[i].Data = nil
	}
	table := Table{Name: "portolan_test", Sets: []Set{{Name: "s", Key: []Type{TypeAddr4}, Interval: true, Elements: NewElements(list...)}},
		Chains: []Chain{{Name: "c", Rules: []Rule{{Do: []Step{In{Key: Source4, Set: "s"}, Accept{}}}}}}}
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	got, err := k.Elements("portolan_test", "s")
	if err != nil || len(got) != len(list) {
		t.Fatalf("%d of %d elements, %v", len(got), len(list), err)
	}
	for i := range got {
		if got[i].id() != list[i].id() {
			t.Fatalf("element %d is %x-%x, want %x-%x", i, got[i].Key, got[i].End, list[i].Key, list[i].End)
		}
	}
	asRead(t, k, &table)
}
