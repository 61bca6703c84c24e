package kernel

import (
	"bytes"
	"slices"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// large is a map that is not read at the start.
func large() (Table, *Elements) {
	all := NewElements()
	for i := range uint32(adoptFrom + 1000) {
		all.Put(Element{Key: Key(Number(i/64), Number(i%64)), Data: Number(i)})
	}
	return Table{Name: "portolan_test", Sets: []Set{{Name: "slots", Key: []Type{TypeNumber, TypeNumber}, Data: []Type{TypeNumber}, Elements: all}}}, all
}

// A large map that stands is made as wished without a reading of it, whatever
// differs: data, what is missing, and what nobody wishes any more.
func TestLargeMapIsAdopted_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	table, _ := large()
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	k.stop()
	for _, c := range []struct {
		name   string
		change func(all *Elements)
	}{ // each begins with what the one before left
		{"nothing", func(*Elements) {}},
		{"one more", func(all *Elements) { all.Put(Element{Key: Key(Number(7), Number(64)), Data: Number(1)}) }},
		{"other data", func(all *Elements) { all.Put(Element{Key: Key(Number(7), Number(7)), Data: Number(1)}) }},
		{"one less", func(all *Elements) { all.Delete(Element{Key: Key(Number(7), Number(7))}) }},
		{"one for one", func(all *Elements) {
			all.Delete(Element{Key: Key(Number(7), Number(7))})
			all.Put(Element{Key: Key(Number(9), Number(77)), Data: Number(1)})
		}},
		{"much of each", func(all *Elements) {
			for i := range uint32(300) {
				all.Put(Element{Key: Key(Number(3*i), Number(i%64)), Data: Number(99)}, Element{Key: Key(Number(i), Number(100)), Data: Number(1)})
				all.Delete(Element{Key: Key(Number(3*i+1), Number(i%64))})
			}
		}},
	} {
		table, all := large()
		c.change(all)
		again := stand(t, at)
		again.Want("test", &Wishes{Tables: []Table{table}})
		again.synced("test")
		if c.name == "nothing" || c.name == "one more" {
			for _, sent := range again.sentSince() {
				if !bytes.HasPrefix([]byte(sent), []byte("add element slots")) {
					t.Errorf("%s: sent %s", c.name, sent)
				}
			}
		}
		sameElements(t, again, "slots", all)
		all.Put(Element{Key: Key(Number(1), Number(1)), Data: Number(123)}) // what came of it is known
		again.sentSince()
		again.Changed("test", all)
		again.synced("test")
		want := []string{"delete element slots { 0x1 . 0x1 : 0x41 }", "add element slots { 0x1 . 0x1 : 0x7b }"}
		if sent := again.sentSince(); !slices.Equal(sent, want) {
			t.Errorf("%s: a change then sends %q", c.name, sent)
		}
		sameElements(t, again, "slots", all)
		all.Put(Element{Key: Key(Number(1), Number(1)), Data: Number(65)})
		again.Changed("test", all)
		again.synced("test")
		again.stop()
	}
}

// sameElements holds the elements in Linux against those that are wished.
func sameElements(t *testing.T, k *standing, set string, want *Elements) {
	t.Helper()
	list, err := k.Elements("portolan_test", set)
	if err != nil {
		t.Fatal(err)
	}
	have := newStore(len(list))
	for _, el := range list {
		have.put(pack(el))
	}
	if diff := want.differ(have); !diff.empty() {
		t.Errorf("%+v elements differ, the first is %x", diff.amount(), diff.some(diff.amount())[0])
	}
}
