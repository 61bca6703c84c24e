package outbound

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

// inLinux is a kernel in a namespace that notes what is written.
type inLinux struct {
	*kernel.Kernel
	t    *testing.T
	mu   sync.Mutex
	sent []string
	rows map[status.ID]status.Row
}

func newLinux(t *testing.T) *inLinux {
	space := nettest.New(t)
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
	ctx, stop := context.WithCancel(t.Context())
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
// them. Routes over interfaces that are not there are left out.
func (l *inLinux) stands(w *kernel.Wishes) []string {
	l.t.Helper()
	l.mu.Lock()
	l.sent = nil
	l.mu.Unlock()
	l.Want(Owner, &kernel.Wishes{Tables: w.Tables})
	return l.synced()
}

func (l *inLinux) synced() []string {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
	defer cancel()
	if err := l.Sync(ctx, Owner); err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

// Linux takes all that a rich configuration compiles to; the same again writes
// nothing, a tick nothing but the slots that it moved, and a reload no more than
// what it changed (T60).
func TestCompile_Root(t *testing.T) {
	for _, name := range []string{"simple", "rich"} {
		t.Run(name, func(t *testing.T) {
			g := sample(t, name)
			l := newLinux(t)
			if sent := l.stands(g.Wishes(g.facts)); len(sent) == 0 {
				t.Fatal("nothing was written")
			}
			if sent := l.stands(g.Wishes(g.facts)); len(sent) > 0 {
				t.Errorf("the same again: %v", sent)
			}
			text, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			again := compile(t, string(text), g.Plan)
			if sent := l.stands(again.Wishes(g.facts)); len(sent) > 0 {
				t.Errorf("a reload of the same: %v", sent)
			}
			v := again.Variants()[0]
			s := make(slots.Slots, SlotCount)
			for i := range s {
				s[i] = g.members(v)[i%len(g.members(v))]
			}
			s[7] = s[8]
			l.Changed(Owner, v.SetSlots(s)...)
			if sent := l.synced(); len(sent) > 4 {
				t.Errorf("one slot: %v", sent)
			}
			more := strings.Replace(string(text), "linkGroups:", "  - {name: further, interface: eth9, nextHop: 100.64.0.1}\nlinkGroups:", 1)
			if name == "simple" {
				if sent := l.stands(compile(t, more, again).Wishes(g.facts)); len(sent) > 30 {
					t.Errorf("one link more: %d messages\n%s", len(sent), strings.Join(sent, "\n"))
				}
			}
		})
	}
}

// Each moment of the day, and each state of the facts, is one that Linux takes.
func TestCompileFacts_Root(t *testing.T) {
	g := sample(t, "rich")
	l := newLinux(t)
	l.stands(g.Wishes(g.facts))
	night := g.facts
	night.Now = night.Now.Add(11 * time.Hour)
	if sent := l.stands(g.Wishes(night)); len(sent) != 1 {
		t.Errorf("a rule by time: %d messages\n%s", len(sent), strings.Join(sent, "\n"))
	}
	bad := g.facts
	bad.Unavailable = map[string]bool{"internet": true}
	bad.Lapsed = map[string]bool{}
	for _, v := range g.Variants() {
		bad.Lapsed[v.Name] = true
	}
	if sent := l.stands(g.Wishes(bad)); len(sent) == 0 || len(sent) > 40 {
		t.Errorf("backup and busy: %d messages\n%s", len(sent), strings.Join(sent, "\n"))
	}
	l.stands(g.Wishes(Facts{}))
	l.stands(g.Wishes(g.facts))
}
