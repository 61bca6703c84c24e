package slb

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slb/l4"
)

// What is gone from the configuration is forgotten: what has its number later, or
// comes back, has not moved yet, and who asks often keeps nothing of it.
func TestHitsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := fmt.Sprintf(web, "")
		b := newBench(t, text).run(t)
		count := func(n uint64) (last time.Time, known bool) {
			for _, h := range b.plan.Hits() {
				if h.Kind == l4.HitServer && h.Name == "web/b" {
					for _, at := range b.plan.Places(h.From.Set) {
						b.elements[at.Set] = []kernel.Element{{Key: []byte(h.From.Key), Packets: n}}
					}
				}
			}
			list, err := b.Hits(nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range list {
				if h.Kind == l4.HitServer && h.Name == "web/b" {
					return h.Last, true
				}
			}
			return last, false
		}
		count(5)
		if last, _ := count(6); last.IsZero() {
			t.Error("it has moved")
		}
		b.use(text)
		if last, _ := count(6); last.IsZero() {
			t.Error("a reload of the same forgets when it moved")
		}
		b.use(strings.Replace(text, "{name: b, address: 10.1.0.2, port: 8080}, ", "", 1))
		if _, known := count(6); known {
			t.Error("it is gone")
		}
		b.use(text)
		if last, _ := count(6); !last.IsZero() {
			t.Error("it is new, and has moved")
		}
	})
}
