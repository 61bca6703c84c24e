package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

// numbered is a table with a map and a rule that looks into it; refused has another
// rule that Linux takes nowhere but in chains of NAT.
func numbered(tell string, refused bool, data map[uint32]uint32) (Table, *Elements) {
	e := NewElements()
	for key, n := range data {
		e.Put(Element{Key: Number(key), Data: Number(n)})
	}
	one := []Type{TypeNumber}
	t := Table{Name: "portolan_test", Sets: []Set{{Name: "m", Key: one, Data: one, Elements: e}},
		Chains: []Chain{{Name: "input", Hook: &Hook{"filter", "input", 0}, Rules: []Rule{{Tell: tell, Do: []Step{SetPriority{Lookup{Mark, "m"}}}}}}}}
	if refused {
		t.Chains = append(t.Chains, Chain{Name: "bad", Hook: &Hook{"filter", "forward", 0}, Rules: []Rule{{Do: []Step{Masquerade{}}}}})
	}
	return t, e
}

// mapped gives what is in the map of [numbered], in order.
func mapped(t *testing.T, k *standing) string {
	t.Helper()
	list, err := k.Elements("portolan_test", "m")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, el := range list {
		all = append(all, showNumber(el.Key)+":"+showNumber(el.Data))
	}
	slices.Sort(all)
	if len(all) > 10 {
		return fmt.Sprintf("%d elements", len(all))
	}
	return strings.Join(all, " ")
}

// refused waits until Linux has refused something.
func (s *standing) refused(owner string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), longEnough)
	defer cancel()
	if err := s.Sync(ctx, owner); err == nil || !strings.Contains(err.Error(), "the kernel refuses") || errors.Is(err, ErrUnwritten) {
		s.t.Fatalf("sync says %v", err)
	}
}

// When Linux refuses a change of a table, what stood stays, rules and elements, however
// many parts the change was made in; but what is changed of elements afterwards is
// written. What others do to the table is put right, and the next wish takes its place.
func TestRefusedStays_Root(t *testing.T) {
	at := nettest.New(t)
	k := standWith(t, at, Options{Part: 1 << 10})
	old, _ := numbered("old", false, map[uint32]uint32{1: 1, 2: 2})
	k.Want("test", &Wishes{Tables: []Table{old}})
	k.synced("test")

	many := map[uint32]uint32{1: 10, 3: 3}
	for i := range uint32(200) {
		many[1000+i] = i
	}
	table, e := numbered("new", true, many)
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.refused("test")
	check := func(what, want string) {
		t.Helper()
		if got := mapped(t, k); got != want {
			t.Errorf("%s: the map has %s, want %s", what, got, want)
		}
		if out := mustNFT(t, at, "", "list", "chain", "inet", "portolan_test", "input"); !strings.Contains(out, "old") {
			t.Errorf("%s: the chain is\n%s", what, out)
		}
	}
	check("a change that is refused", "0x1:0x1 0x2:0x2")
	e.Put(Element{Key: Number(1), Data: Number(11)})
	k.Changed("test", e)
	k.refused("test")
	check("an element that is changed afterwards", "0x1:0xb 0x2:0x2")
	mustNFT(t, at, "", "delete", "table", "inet", "portolan_test")
	until(t, "put right", longEnough, func() bool {
		out, err := nftIn(t, at, "", "list", "table", "inet", "portolan_test")
		return err == nil && strings.Contains(out, "old") && strings.Contains(out, "0x0000000b")
	})
	k.refused("test")
	check("what others deleted", "0x1:0xb 0x2:0x2")

	good, _ := numbered("good", false, map[uint32]uint32{3: 3})
	k.Want("test", &Wishes{Tables: []Table{good}})
	k.synced("test")
	asRead(t, k, &good)
}

// A table that stands from before the start stays as it is too.
func TestRefusedAtStart_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	old, _ := numbered("old", false, map[uint32]uint32{1: 1, 2: 2})
	k.Want("test", &Wishes{Tables: []Table{old}})
	k.synced("test")
	k.stop()
	k = stand(t, at)
	table, e := numbered("new", true, map[uint32]uint32{1: 10, 3: 3})
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.refused("test")
	if got := mapped(t, k); got != "0x1:0x1 0x2:0x2" {
		t.Errorf("the map has %s", got)
	}
	e.Put(Element{Key: Number(1), Data: Number(11)})
	k.Changed("test", e)
	k.refused("test")
	if got := mapped(t, k); got != "0x1:0xb 0x2:0x2" {
		t.Errorf("after a change the map has %s", got)
	}
	good, _ := numbered("good", false, map[uint32]uint32{3: 3})
	k.Want("test", &Wishes{Tables: []Table{good}})
	k.synced("test")
	asRead(t, k, &good)
}

// Sync tells apart that elements could not be written.
func TestUnwritten_Root(t *testing.T) {
	k := stand(t, nettest.New(t))
	table, e := numbered("old", false, map[uint32]uint32{1: 1})
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	k.setFail(func([]string) error { return unix.ENOMEM })
	e.Put(Element{Key: Number(1), Data: Number(2)})
	k.Changed("test", e)
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	if err := k.Sync(ctx, "test"); !errors.Is(err, ErrUnwritten) {
		t.Errorf("sync says %v", err)
	}
	k.setFail(nil)
	until(t, "written", longEnough, func() bool { return k.Sync(ctx, "test") == nil })
	if got := mapped(t, k); got != "0x1:0x2" {
		t.Errorf("the map has %s", got)
	}
}
