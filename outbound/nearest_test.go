package outbound

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
)

// Networks that packets asked for are measured, and what is known of them
// reaches the kernel: here what is configured.
func TestNearest_1_2_18(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, strings.Replace(simple, "members: [one, two, three]", "members: [one, two, three], proximity: true", 1)+
			"proximity: {methods: [icmp], static: [{prefix: 203.0.113.0/24, link: two}]}\n")
		host, network := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("203.0.113.0")
		b.asked["prox_want4"] = []kernel.Element{{Key: kernel.Addr(network), Data: kernel.Addr(host)}}
		b.notes = nil
		b.look1()
		if got := strings.Join(b.notes, ", "); !strings.Contains(got, "forget 1 of prox_want4") {
			t.Errorf("what was asked for stays: %s", got)
		}
		el, ok := b.plan.ranks[0].Get(kernel.Addr(network))
		if !ok || Ranks(binary.NativeEndian.Uint32(el.Data)).First(slots.IDs{1, 2, 3}) != 2 {
			t.Errorf("ranks of %s: %v %v", network, el, ok)
		}
		b.use(simple) // no proximity: ranks stay where they are, and have no effect (FAQ 1.2.23)
		b.look1()
	})
}

// After a reload with another mask the kernel is told anew of networks that were
// known before: it has forgotten them.
func TestNearestOverMasks_1_2_22(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := strings.Replace(simple, "members: [one, two, three]", "members: [one, two, three], proximity: true", 1) +
			"proximity: {methods: [icmp], mask: {v4: %d}, static: [{prefix: 203.0.113.0/24, link: two}]}\n"
		b := newBench(t, fmt.Sprintf(text, 24))
		host := netip.MustParseAddr("203.0.113.9")
		for _, mask := range []int{24, 25, 24} {
			b.use(fmt.Sprintf(text, mask))
			b.asked["prox_want4"] = []kernel.Element{{Key: kernel.Addr(netip.PrefixFrom(host, mask).Masked().Addr()), Data: kernel.Addr(host)}}
			for range nearParts + 1 {
				time.Sleep(nearEvery)
				b.look1()
			}
			if n := b.plan.ranks[0].Len(); n != 1 {
				t.Errorf("/%d: %d networks are known to the kernel", mask, n)
			}
		}
	})
}

// What a reload changes of distances counts for all networks with the next turn
// (FAQ 1.2.4, 1.2.5), not by and by.
func TestNearestAfterReload_1_2_5(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := strings.Replace(simple, "members: [one, two, three]", "members: [one, two, three], proximity: true", 1) +
			"proximity: {methods: [icmp], static: [{prefix: 10.0.0.0/8, link: %s}]}\n"
		b := newBench(t, fmt.Sprintf(text, "two"))
		for i := range byte(50) {
			a := netip.AddrFrom4([4]byte{10, 0, i, 0})
			b.asked["prox_want4"] = append(b.asked["prox_want4"], kernel.Element{Key: kernel.Addr(a), Data: kernel.Addr(a)})
		}
		asked := b.asked["prox_want4"]
		for _, want := range []slots.ID{2, 3} {
			if want == 3 {
				b.use(fmt.Sprintf(text, "three"))
			}
			b.look1()
			for _, el := range asked {
				got, _ := b.plan.ranks[0].Get(el.Key)
				if len(got.Data) == 0 || Ranks(binary.NativeEndian.Uint32(got.Data)).First(slots.IDs{1, 2, 3}) != want {
					t.Fatalf("%v has %v, want link %d", el.Key, got.Data, want)
				}
			}
			time.Sleep(nearEvery)
			b.look1()
		}
	})
}

// Networks of which something is configured are in no table that forgets them:
// who asks for ever more of them fills nothing (T14).
func TestNearestIsBounded_T14(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1000
		b := newBench(t, strings.Replace(simple, "members: [one, two, three]", "members: [one, two, three], proximity: true", 1)+
			fmt.Sprintf("proximity: {methods: [icmp], maxEntries: %d, static: [{prefix: 10.0.0.0/8, link: two}]}\n", most))
		for i := range 4 * nearParts {
			for j := range most / 4 {
				a := netip.AddrFrom4([4]byte{10, byte(i), byte(j), 0})
				b.asked["prox_want4"] = append(b.asked["prox_want4"], kernel.Element{Key: kernel.Addr(a), Data: kernel.Addr(a)})
			}
			asked := b.asked["prox_want4"]
			time.Sleep(nearEvery)
			b.look1()
			if n := b.plan.ranks[0].Len(); n > most || n != len(b.ranked.ranks) {
				t.Fatalf("%d networks are known to the kernel, %d to us, of at most %d", n, len(b.ranked.ranks), most)
			}
			if _, ok := b.plan.ranks[0].Get(asked[len(asked)-1].Key); !ok {
				t.Fatal("who asked last is not known")
			}
		}
	})
}
