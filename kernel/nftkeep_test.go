package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// until waits until something is so.
func until(t testing.TB, what string, patience time.Duration, ok func() bool) {
	t.Helper()
	late := time.After(patience)
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if ok() {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// A change touches no more than it has to: what is told to the kernel is counted
// message by message.
func TestChangesAreSmall_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	table := everything()
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	k.sentSince()
	sent := func(what string, want ...string) {
		t.Helper()
		k.synced("test")
		if got := k.sentSince(); !slices.Equal(got, want) {
			t.Errorf("%s: sent\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		asRead(t, k, &table)
	}
	slots := table.Sets[1].Elements
	k.Changed("test", slots)
	sent("a tick that changes nothing")
	slots.Put(Element{Key: Number(3), Data: Number(2)})
	k.Changed("test", slots)
	sent("one slot", "delete element g1_slots { 0x3 : 0x1 }", "add element g1_slots { 0x3 : 0x2 }")
	k.Want("test", &Wishes{Tables: []Table{table}})
	sent("the same wishes again")

	table.Chains = slices.Clone(table.Chains)
	group := &table.Chains[1]
	group.Rules = slices.Insert(slices.Clone(group.Rules), 2, Rule{Tell: "one more", Do: []Step{Drop{}}})
	k.Want("test", &Wishes{Tables: []Table{table}})
	sent("one rule more", `add to chain group_1: drop comment "one more"`)
	if out := mustNFT(t, at, "", "list", "chain", "inet", table.Name, "group_1"); strings.Index(out, "one more") < strings.Index(out, "by turn") || strings.Index(out, "one more") > strings.Index(out, "by lot") {
		t.Errorf("it stands in the wrong place:\n%s", out)
	}
	group.Rules = slices.Delete(slices.Clone(group.Rules), 2, 3)
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	if got := k.sentSince(); len(got) != 1 || !strings.HasPrefix(got[0], "delete from chain group_1 the rule") {
		t.Errorf("one rule less: %q", got)
	}
	asRead(t, k, &table)
}

// What stands when we start is recognised: nothing is written, counters and what
// packets have put into maps stay.
func TestAdoption_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	table := everything()
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	mustNFT(t, at, "", "add", "element", "inet", table.Name, "g1_src4", "{ 192.0.2.9 timeout 1h : 3 }")
	k.stop()

	again := stand(t, at)
	fresh := everything()
	again.Want("test", &Wishes{Tables: []Table{fresh}})
	again.synced("test")
	if got := again.sentSince(); got != nil {
		t.Errorf("a start over what stands writes:\n%s", strings.Join(got, "\n"))
	}
	list, err := again.Elements(table.Name, "g1_src4")
	if err != nil || len(list) != 1 || showAddr(list[0].Key) != "192.0.2.9" || showNumber(list[0].Data) != "0x3" {
		t.Errorf("the map has %+v, %v", list, err)
	} else if left := list[0].Expires; left < 59*time.Minute || left > time.Hour || list[0].Timeout != time.Hour {
		t.Errorf("it lives %v of %v", left, list[0].Timeout)
	}
	again.stop()

	changed := everything() // and what differs is all that is written
	changed.Sets[1].Elements.Put(Element{Key: Number(0), Data: Number(7)})
	third := stand(t, at)
	third.Want("test", &Wishes{Tables: []Table{changed}})
	third.synced("test")
	if got := third.sentSince(); len(got) != 2 {
		t.Errorf("one slot that differs at the start: %q", got)
	}
}

// A dynamic set whose size changes keeps what packets have put there.
func TestDynamicKeepsContent_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	table := everything()
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	mustNFT(t, at, "", "add", "element", "inet", table.Name, "g1_src4", "{ 192.0.2.9 timeout 1h : 3, 192.0.2.10 : 4 }")
	table.Sets[3].Size = 100
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	asRead(t, k, &table)
	list, err := k.Elements(table.Name, "g1_src4")
	if err != nil || len(list) != 2 {
		t.Fatalf("the map has %+v, %v", list, err)
	}
	for _, el := range list {
		if el.Expires == 0 || el.Expires > el.Timeout && el.Timeout > 0 {
			t.Errorf("%s lives %v of %v", showAddr(el.Key), el.Expires, el.Timeout)
		}
	}
	one, found, err := k.Element(table.Name, "g1_src4", addr("192.0.2.9"))
	if err != nil || !found || showNumber(one.Data) != "0x3" || one.Timeout != time.Hour || one.Expires <= 0 || one.Expires > time.Hour {
		t.Errorf("one element: %+v %v %v", one, found, err)
	}
	if el, found, err := k.Element(table.Name, "g1_src4", addr("192.0.2.77")); found || err != nil {
		t.Errorf("an element that is not there: %+v %v", el, err)
	}
	if _, _, err := k.Element(table.Name, "nothing", addr("192.0.2.9")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("an element of a set that is not there: %v", err)
	}
	if err := k.Delete(table.Name, "g1_src4", addr("192.0.2.9"), addr("192.0.2.77")); err != nil {
		t.Error(err)
	}
	if list, _ := k.Elements(table.Name, "g1_src4"); len(list) != 1 || showAddr(list[0].Key) != "192.0.2.10" {
		t.Errorf("after a deletion the map has %+v", list)
	}
	if err := k.Delete(table.Name, "nothing", addr("192.0.2.9")); !errors.Is(err, unix.ENOENT) {
		t.Errorf("deleting from a set that is not there: %v", err)
	}
}

// What others delete, add or flush is put right within two seconds, and their
// own tables stay as they are.
func TestTablesAreRepaired_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	table := everything()
	k.Want("test", &Wishes{Tables: []Table{table}})
	k.synced("test")
	mustNFT(t, at, "table inet others { set s { type ipv4_addr; elements = { 192.0.2.1 } }\n chain portolan_x { accept; }; }; table ip portolan_test { chain c { drop; }; }", "-f", "-")
	foreign := mustNFT(t, at, "", "list", "table", "inet", "others") + mustNFT(t, at, "", "list", "table", "ip", "portolan_test")
	name := table.Name
	stands := func() bool {
		w := wishOf(&table)
		have, err := readTable(k.asks, name, w)
		if err != nil {
			return false
		}
		pl := &planner{table: name, want: w, have: have, pending: map[string]*pending{}, bad: func(string) {}, carry: func(*setHave, *Set) []Element { return nil }}
		for set := range w.sets {
			pl.pending[set] = &pending{all: true}
		}
		return len(pl.makePlan(false).ops()) == 0
	}
	for _, harm := range []string{
		"delete table inet " + name,
		"flush chain inet " + name + " group_1",
		"flush chain inet " + name + " postrouting; delete chain inet " + name + " postrouting",
		"delete element inet " + name + " isp4 { 10.0.0.0/8 }",
		"add element inet " + name + " isp4 { 172.16.0.0/12 : 9 }",
		"add rule inet " + name + " group_1 drop",
		"insert rule inet " + name + " prerouting accept",
		"add chain inet " + name + " more; add set inet " + name + " other { type ipv4_addr; }",
		"add chain inet " + name + " forward { policy drop; }",
		"flush set inet " + name + " lan",
		"add counter inet " + name + " mine",
	} {
		mustNFT(t, at, harm, "-f", "-")
		until(t, harm, promised, stands)
	}
	if now := mustNFT(t, at, "", "list", "table", "inet", "others") + mustNFT(t, at, "", "list", "table", "ip", "portolan_test"); now != foreign {
		t.Errorf("tables of others were\n%s\nand are\n%s", foreign, now)
	}
	mustNFT(t, at, "", "flush", "ruleset")
	until(t, "flush ruleset", promised, stands)
	k.Want("test", nil)
	k.synced("test")
	if out := mustNFT(t, at, "", "list", "ruleset"); out != "" {
		t.Errorf("after all wishes ended there is\n%s", out)
	}
	if r := k.row("test"); r.ID != "" {
		t.Errorf("its row stays: %+v", r)
	}
}

// What the kernel refuses is told with its text; of a new table it is left out,
// a standing one stays as it was but for its elements.
func TestRefused_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	bad := Chain{Name: "bad", Hook: &Hook{"filter", "forward", 0}, Rules: []Rule{{Tell: "masquerade where there is no NAT", Do: []Step{Masquerade{}}}, {Tell: "fine", Do: []Step{Accept{}}}}}
	hooked := Chain{Name: "input", Hook: &Hook{"filter", "input", 0}, Rules: []Rule{{Tell: "new", Do: []Step{Accept{}}}}}
	set := Set{Name: "s", Key: []Type{TypeNumber}, Elements: NewElements(Element{Key: Number(1)})}
	k.Want("test", &Wishes{Tables: []Table{{Name: "portolan_test", Sets: []Set{set}, Chains: []Chain{bad, hooked}}}})
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	err := k.Sync(ctx, "test")
	if err == nil || !strings.Contains(err.Error(), "masquerade") {
		t.Errorf("sync says %v", err)
	}
	if r := k.row("test"); r.Health != status.Down || !strings.Contains(r.Why, "masquerade where there is no NAT") {
		t.Errorf("row %+v", r)
	}
	if out := mustNFT(t, at, "", "list", "table", "inet", "portolan_test"); !strings.Contains(out, "fine") || !strings.Contains(out, "0x00000001") {
		t.Errorf("not all else stands:\n%s", out)
	}

	good := Table{Name: "portolan_test", Sets: []Set{set}, Chains: []Chain{{Name: "input", Hook: hooked.Hook, Rules: []Rule{{Tell: "old", Do: []Step{Accept{}}}}}}}
	k.Want("test", &Wishes{Tables: []Table{good}})
	k.synced("test")
	if r := k.row("test"); r.Health != status.Up {
		t.Errorf("row %+v", r)
	}
	k.Want("test", &Wishes{Tables: []Table{{Name: "portolan_test", Sets: []Set{set}, Chains: []Chain{bad, hooked}}}})
	if err := k.Sync(ctx, "test"); err == nil {
		t.Error("sync says nothing")
	}
	set.Elements.Put(Element{Key: Number(2)})
	k.Changed("test", set.Elements)
	if err := k.Sync(ctx, "test"); err == nil {
		t.Error("sync says nothing")
	}
	if r := k.row("test"); !strings.HasPrefix(r.Why, "the kernel refuses: add to chain bad: masquerade") {
		t.Errorf("the cause is not told first: %s", r.Why)
	}
	if out := mustNFT(t, at, "", "list", "table", "inet", "portolan_test"); !strings.Contains(out, "old") || strings.Contains(out, "fine") || !strings.Contains(out, "0x00000002") {
		t.Errorf("the old chains and the new element should stand:\n%s", out)
	}
}

// A map of verdicts may go together with the chains that it leads to, as when a
// link is removed with a group of its own.
func TestMapAndItsChains_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	leads := Set{Name: "leads", Key: []Type{TypeNumber}, Verdicts: true, Elements: NewElements(Element{Key: Number(1), Verdict: Goto{"there"}})}
	hooked := Chain{Name: "input", Hook: &Hook{"filter", "input", 0}}
	with := hooked
	with.Rules = []Rule{{Do: []Step{Choose{Key: Mark, Map: "leads"}}}}
	there := Chain{Name: "there", Rules: []Rule{{Do: []Step{Accept{}}}}}
	for range 2 {
		for _, table := range []Table{
			{Name: "portolan_test", Sets: []Set{leads}, Chains: []Chain{there, with}},
			{Name: "portolan_test", Chains: []Chain{hooked}},
		} {
			k.Want("test", &Wishes{Tables: []Table{table}})
			k.synced("test")
			asRead(t, k, &table)
		}
	}
}

// A transaction that fails as a whole is made again.
func TestFailedTransaction_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	k.setFail(func([]string) error { return unix.ENOMEM })
	table := everything()
	k.Want("test", &Wishes{Tables: []Table{table}})
	ctx, cancel := context.WithTimeout(t.Context(), longEnough)
	defer cancel()
	if err := k.Sync(ctx, "test"); err == nil || !strings.Contains(err.Error(), "cannot allocate memory") {
		t.Errorf("sync says %v", err)
	}
	k.setFail(nil)
	until(t, "made again", longEnough, func() bool { return k.row("test").Health == status.Up })
	asRead(t, k, &table)
}

func (s *standing) setFail(f func([]string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// From any wishes to any others ends where a fresh start with these would, in
// many parts too.
func TestAnyWishes_Root(t *testing.T) {
	at := nettest.New(t)
	k := standWith(t, at, Options{Part: 1 << 10})
	rapid.Check(t, func(rt *rapid.T) {
		for i := range 3 {
			table := anyTable(rt, fmt.Sprint(i))
			k.Want("test", &Wishes{Tables: []Table{table}})
			ctx, cancel := context.WithTimeout(t.Context(), longEnough)
			if err := k.Sync(ctx, "test"); err != nil {
				rt.Fatalf("%v\n%s", err, table.Text())
			}
			cancel()
			asRead(t, k, &table)
		}
		if t.Failed() {
			rt.Fatal("see above")
		}
	})
}

// anyTable gives a table of a few sets, chains and rules that refer to them.
func anyTable(rt *rapid.T, label string) Table {
	some := func(what string, n int) int { return rapid.IntRange(0, n).Draw(rt, label+what) }
	t := Table{Name: "portolan_test", Counters: []string{"a", "b", "c"}[:some("counters", 3)]}
	chains := []string{"one", "two", "three"}[:1+some("chains", 2)]
	verdicts := NewElements()
	for i := range some("verdicts", 5) {
		verdicts.Put(Element{Key: Number(uint32(i)), Verdict: Goto{chains[some("target", len(chains)-1)]}})
	}
	t.Sets = append(t.Sets, Set{Name: "v", Key: []Type{TypeNumber}, Verdicts: true, Elements: verdicts})
	ranges := NewElements()
	from := uint32(some("from", 1000))
	for range some("ranges", 20) {
		to := from + uint32(some("width", 300))
		key := func(n uint32) []byte { return big32(n) }
		ranges.Put(Element{Key: key(from), End: key(to), Data: Number(uint32(some("data", 3)))})
		from = to + 1 + uint32(some("gap", 2))
	}
	if some("last", 1) == 1 {
		ranges.Put(Element{Key: big32(0xffffff00), End: big32(0xffffffff), Data: Number(9)})
	}
	t.Sets = append(t.Sets, Set{Name: "r", Key: []Type{TypeAddr4}, Data: []Type{TypeNumber}, Interval: true, Elements: ranges})
	t.Sets = append(t.Sets, Set{Name: "d", Key: []Type{TypeAddr4}, Data: []Type{TypeNumber}, Dynamic: true, Size: 10 * (1 + some("size", 2))})
	rule := func() Rule {
		do := []Step{Is{Of: Mark, To: Number(uint32(some("mark", 3)))}}
		switch some("kind", 6) {
		case 0:
			do = append(do, Choose{Lookup{Source4, "r"}, "v"})
		case 1:
			do = append(do, Change{Set: "d", Key: Dest4, Data: Const(Number(1))})
		case 2:
			if len(t.Counters) > 0 {
				do = append(do, Count{t.Counters[0]})
			}
		case 3:
			do = append(do, Choose{Mark, "v"})
		case 4:
			do = append(do, SetMark{LinkMask, uint32(some("bits", 3))})
		}
		return Rule{Tell: fmt.Sprint("rule ", some("tell", 2)), Do: append(do, Accept{})}
	}
	base := Chain{Name: "base", Hook: &Hook{"filter", "prerouting", int32(some("priority", 1))}}
	for range some("rules", 8) {
		base.Rules = append(base.Rules, rule())
	}
	base.Rules = append(base.Rules, Rule{Do: []Step{Jump{chains[0]}}})
	for _, name := range chains {
		c := Chain{Name: name}
		for range some("rules", 3) {
			c.Rules = append(c.Rules, Rule{Tell: fmt.Sprint(some("tell", 3)), Do: []Step{SetMark{LinkMask, uint32(some("bits", 3))}}})
		}
		t.Chains = append(t.Chains, c)
	}
	t.Chains = append(t.Chains, base)
	return t
}
