package l4

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// inLinux is a kernel in a namespace that notes what is written.
type inLinux struct {
	*kernel.Kernel
	t    testing.TB
	mu   sync.Mutex
	sent []string
	rows map[status.ID]status.Row
}

func newLinux(t testing.TB, space *nettest.Space) *inLinux {
	l := &inLinux{t: t, rows: map[status.ID]status.Row{}}
	opts := kernel.Options{
		Report: func(rows []status.Row, _ []status.ID) {
			l.mu.Lock()
			defer l.mu.Unlock()
			for _, r := range rows {
				l.rows[r.ID] = r
			}
		},
		Fail: func(messages []string) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.sent = append(l.sent, messages...)
			return nil
		},
	}
	var err error
	space.Do(func() { l.Kernel, err = kernel.New(opts) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		l.Close()
	})
	return l
}

// stands waits until the wishes stand in Linux, and gives what was written for
// them.
func (l *inLinux) stands(w *kernel.Wishes) []string {
	l.t.Helper()
	l.mu.Lock()
	l.sent = nil
	l.mu.Unlock()
	l.Want(Owner, &kernel.Wishes{Tables: w.Tables})
	return l.synced()
}

// changes waits until changed elements stand in Linux, and gives what was written.
func (l *inLinux) changes(e ...*kernel.Elements) []string {
	l.t.Helper()
	l.mu.Lock()
	l.sent = nil
	l.mu.Unlock()
	l.Changed(Owner, e...)
	return l.synced()
}

func (l *inLinux) synced() []string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := l.Sync(ctx, Owner); err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

// Linux takes all that configurations compile to; the same again writes nothing, a
// tick nothing but the slots that it moved, and a reload no more than what it
// changed (T60).
func TestCompile_Root(t *testing.T) {
	for name, text := range map[string]string{"simple": simple, "rich": rich(t), "direct": direct("routed", "slots: 16", "\n  - {name: any, address: 203.0.113.11, serve: {type: ip, farm: web}}")} {
		t.Run(name, func(t *testing.T) {
			b := newBalancer(t, text)
			l := newLinux(t, nettest.New(t))
			if sent := l.stands(b.Wishes(b.facts)); len(sent) == 0 {
				t.Fatal("nothing was written")
			}
			if sent := l.stands(b.Wishes(b.facts)); len(sent) > 0 {
				t.Errorf("the same again: %v", sent)
			}
			again := compile(t, text, b.Plan)
			if sent := l.stands(again.Wishes(b.facts)); len(sent) > 0 {
				t.Errorf("a reload of the same: %v", sent)
			}
			f := again.farms[0]
			list := spread(f.Slots, f.ids())
			list[0] = list[1]
			if sent := l.changes(again.SetSlots(f.Name, list)...); len(sent) > 2*max(1, len(again.CopyTables())) {
				t.Errorf("one slot: %v", sent)
			}
			more := strings.Replace(text, "\nserverFarms:", `
  - {name: further, address: 203.0.113.99, port: 80, serve: {farm: further}}
serverFarms:
  - {name: further, algorithm: random, slots: 16, servers: ["10.9.0.1", "10.9.0.2"]}`, 1)
			sent := l.stands(compile(t, more, again).Wishes(b.facts))
			if len(sent) > 20 {
				t.Errorf("one virtual server more: %d messages\n%s", len(sent), strings.Join(sent, "\n"))
			}
		})
	}
}
