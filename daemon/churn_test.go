package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/store"
)

// TestChurn adds, replaces and removes zones at random through the API while
// they are asked for by UDP and TCP, and the configuration is reloaded beside
// it. Each version of a zone has its number in all its records, so an answer
// tells which versions it is of. It fails on
//
//   - an answer that mixes versions, or lacks records of its version;
//   - an answer of a version older than one that was acknowledged before the
//     query was sent, or of one that nobody has asked for yet;
//   - any answer but REFUSED after a removal was acknowledged;
//   - memory, goroutines or descriptors that do not come back to where they were.
//
// PORTOLAN_CHURN is how long it runs on 10,000 zones, twice: make churn. Without
// it the test is over in some seconds.
func TestChurn(t *testing.T) {
	length, zones := time.Second, 200
	if text := os.Getenv("PORTOLAN_CHURN"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		zones = 10_000
	}
	for _, mode := range []string{"state folder", "folder of zones"} {
		t.Run(mode, func(t *testing.T) { churnFor(t, length, zones, mode == "folder of zones") })
	}
}

func churnFor(t *testing.T, length time.Duration, zones int, folder bool) {
	c := newChurn(t, zones, folder)
	stop := c.serve()
	c.fillEvents()
	before := c.footprint() // without any of the zones
	stop()
	c.prefill(folder)
	stop = c.serve()
	defer stop()
	c.fillEvents()
	if n := c.d.dns.Table().Size(); n != zones+c.others {
		t.Fatalf("%d zones are served at the start", n)
	}

	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var writers, askers sync.WaitGroup
	for w := range churnWriters {
		writers.Go(func() { c.write(ctx, w) })
	}
	asking, enough := context.WithCancel(t.Context())
	defer enough()
	for a := range churnAskers {
		askers.Go(func() { c.ask(asking, a == 0) })
	}
	writers.Go(func() { c.reload(ctx) })
	writers.Wait()
	for w := range churnWriters {
		writers.Go(func() { c.removeAll(w) })
	}
	writers.Wait()
	enough()
	askers.Wait()

	t.Logf("%d changes of %d zones, %d reloads, %d queries, %d of them without an answer", c.changes.Load(), zones, c.reloads.Load(), c.queries.Load(), c.lost.Load())
	if c.queries.Load() == 0 || c.lost.Load() > c.queries.Load()/100 {
		t.Errorf("%d queries, %d without an answer", c.queries.Load(), c.lost.Load())
	}
	if n := c.d.dns.Stats().Panics; n > 0 {
		t.Errorf("%d panics", n)
	}
	if n := c.d.dns.Table().Size(); n != c.others {
		t.Errorf("%d zones are left", n-c.others)
	}
	c.comesBackTo(before)
}

const (
	churnWriters = 4
	churnAskers  = 4
)

// churn is a daemon and zones that come and go.
type churn struct {
	t      testing.TB
	dir    string
	listen string
	client *client.Client
	opts   Options
	d      *Daemon
	zones  []*churned
	others int  // zones that stay
	killed bool // the server may go at any moment

	changes, reloads, queries, lost atomic.Int64
}

// churned is one zone. Its versions count from 1; those at which it is removed
// count too. Before the first it is absent.
type churned struct {
	name   string
	begun  atomic.Uint64 // the version that was asked for last
	acked  atomic.Uint64 // the version that was acknowledged last
	absent atomic.Uint64 // bit v%64 says that version v is a removal
	there  bool          // for its writer
}

func newChurn(t testing.TB, zones int, folder bool) *churn {
	c := &churn{t: t, dir: t.TempDir(), listen: freePort(t)}
	for i := range zones {
		z := &churned{name: fmt.Sprintf("z%d.example.", i)}
		z.absent.Store(1)
		c.zones = append(c.zones, z)
	}
	c.opts = Options{State: filepath.Join(c.dir, "state"), Socket: filepath.Join(c.dir, "sock"), Log: slog.New(slog.DiscardHandler)}
	if folder {
		c.opts.Zones, c.opts.Listen = filepath.Join(c.dir, "zones"), addresses(t, c.listen)
	} else {
		c.opts.Config = filepath.Join(c.dir, "portolan.yaml")
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(c.dir, "zones"), 0o700),
		os.WriteFile(filepath.Join(c.dir, "zones", "stays.example.zone"), liveText(1), 0o600),
		os.WriteFile(filepath.Join(c.dir, "portolan.yaml"), fmt.Appendf(nil,
			"version: 1\ndns: {listeners: [{address: %q}]}\nzones: [{name: stays.example, file: zones/stays.example.zone}]\n", c.listen), 0o600)); err != nil {
		t.Fatal(err)
	}
	c.client, c.others = client.New(c.opts.Socket), 1
	return c
}

// serve runs the daemon until stop.
func (c *churn) serve() (stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	c.opts.Ready = func(*Daemon) { close(ready) }
	c.d = New(c.opts)
	go func() { done <- c.d.Run(ctx) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		c.t.Fatalf("did not start: %v", err)
	}
	return func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Error(err)
		}
	}
}

// fillEvents fills the ring of events, which else would look like a leak while
// it fills up.
func (c *churn) fillEvents() {
	for i := range events {
		id := status.ID("zone/" + c.zones[i%len(c.zones)].name)
		c.d.board.Record(status.Event{ID: id, Old: fmt.Sprint("serial ", i), New: fmt.Sprint("serial ", i), Why: fmt.Sprint("zone ", i), By: fmt.Sprint("test", i)})
	}
}

// prefill gives the next start the first version of every zone.
func (c *churn) prefill(folder bool) {
	c.t.Helper()
	for _, z := range c.zones {
		z.absent.And(^uint64(1 << 1))
		z.begun.Store(1)
		z.acked.Store(1)
		z.there = true
		dir, text := c.opts.Zones, z.text(1)
		if !folder {
			dir = filepath.Join(c.opts.State, "zones")
			var err error
			if text, err = (store.Zone{Name: z.name, Text: text}).Seal(); err != nil {
				c.t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, store.KeptZoneFile(z.name)), text, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
}

// text is a version of a zone: it is in every answer.
func (z *churned) text(version uint64) []byte {
	text := fmt.Appendf(nil, "$TTL 60\n@ SOA ns hostmaster %d 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\nalias CNAME www\n", version)
	for i := range 3 {
		text = fmt.Appendf(text, "@ TXT %d %d\nwww TXT %d %d\n", version, i, version, i)
	}
	return text
}

// one makes the next version of a zone: another text, or none.
func (c *churn) one(i int, remove bool) bool {
	z := c.zones[i]
	change := api.ZoneChange{Verb: api.AddZone, Name: z.name, From: "x"}
	switch {
	case z.there && remove:
		change.Verb = api.RemoveZone
	case z.there:
		change.Verb = api.ReplaceZone
	}
	version := z.begun.Load() + 1
	removal := change.Verb == api.RemoveZone
	bit := uint64(1) << (version % 64)
	if removal {
		z.absent.Or(bit)
	} else {
		z.absent.And(^bit)
		change.Text = z.text(version)
	}
	z.begun.Store(version)
	if _, err := c.client.ChangeZone(context.Background(), change); err != nil {
		if !c.killed {
			c.t.Errorf("%s %s: %v", change.Verb, z.name, err)
		}
		return false
	}
	z.acked.Store(version)
	z.there = !removal
	c.changes.Add(1)
	return true
}

// write changes the zones of one writer, in an order of chance.
func (c *churn) write(ctx context.Context, w int) {
	for {
		for _, i := range rand.Perm((len(c.zones) + churnWriters - 1) / churnWriters) {
			if i = i*churnWriters + w; i >= len(c.zones) {
				continue
			}
			if ctx.Err() != nil || !c.one(i, rand.IntN(2) == 0) {
				return
			}
		}
	}
}

func (c *churn) removeAll(w int) {
	for i := w; i < len(c.zones); i += churnWriters {
		if c.zones[i].there && !c.one(i, true) {
			return
		}
	}
}

func (c *churn) reload(ctx context.Context) {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := c.client.Reload(context.Background()); err != nil {
				c.t.Errorf("reload: %v", err)
				return
			}
			c.reloads.Add(1)
		}
	}
}

// ask asks for zones by chance until ctx ends.
func (c *churn) ask(ctx context.Context, tcp bool) {
	network := "udp"
	if tcp {
		network = "tcp"
	}
	conn, err := net.Dial(network, c.listen)
	if err != nil {
		c.t.Error(err)
		return
	}
	co := &dns.Conn{Conn: conn}
	defer func() { _ = co.Close() }()
	for ctx.Err() == nil {
		z := c.zones[rand.IntN(len(c.zones))]
		if why := c.check(co, z, churnQuestions[rand.IntN(len(churnQuestions))]); why != "" {
			c.t.Error(why)
			return
		}
	}
}

type churnQuestion struct {
	name  string
	qtype uint16
	rcode int
	want  int // records that tell the version, in all sections
}

var churnQuestions = []churnQuestion{
	{"", dns.TypeSOA, dns.RcodeSuccess, 1}, {"", dns.TypeTXT, dns.RcodeSuccess, 3}, {"alias.", dns.TypeTXT, dns.RcodeSuccess, 3},
	{"nothing.", dns.TypeA, dns.RcodeNameError, 1}, {"www.", dns.TypeA, dns.RcodeSuccess, 1},
}

// check asks one question and says what is wrong with the answer, or nothing.
func (c *churn) check(co *dns.Conn, z *churned, q churnQuestion) string {
	low := z.acked.Load()
	query := new(dns.Msg).SetQuestion(q.name+z.name, q.qtype)
	reply, err := exchange(co, query)
	high := z.begun.Load()
	c.queries.Add(1)
	if err != nil {
		if c.lost.Add(1); co.RemoteAddr().Network() == "tcp" {
			return fmt.Sprintf("%s over TCP: %v", q.name+z.name, err)
		}
		return ""
	}
	if high-low >= 60 {
		return ""
	}
	versions := versionsIn(reply)
	if reply.Rcode == dns.RcodeRefused {
		for v := low; v <= high; v++ {
			if z.absent.Load()&(1<<(v%64)) != 0 {
				return ""
			}
		}
		return fmt.Sprintf("%s is REFUSED, but there from version %d to %d", z.name, low, high)
	}
	if reply.Rcode != q.rcode || len(versions) != q.want {
		return fmt.Sprintf("%s%s %s: versions %v, between %d and %d:\n%v", q.name, z.name, dns.TypeToString[q.qtype], versions, low, high, reply)
	}
	for _, v := range versions {
		if v != versions[0] || v < low || v > high || z.absent.Load()&(1<<(v%64)) != 0 {
			return fmt.Sprintf("%s%s: versions %v, acknowledged %d, asked for %d, removals %b", q.name, z.name, versions, low, high, z.absent.Load())
		}
	}
	return ""
}

// exchange asks until the reply to this question comes; replies to earlier
// ones, whose askers have given up, are passed over.
func exchange(co *dns.Conn, query *dns.Msg) (*dns.Msg, error) {
	if err := cmp.Or(co.SetDeadline(time.Now().Add(2*time.Second)), co.WriteMsg(query)); err != nil {
		return nil, err
	}
	for {
		if reply, err := co.ReadMsg(); err != nil || reply.Id == query.Id {
			return reply, err
		}
	}
}

// versionsIn gives the versions that the records of a reply tell.
func versionsIn(m *dns.Msg) (versions []uint64) {
	for _, rr := range append(append(m.Answer, m.Ns...), m.Extra...) {
		switch rr := rr.(type) {
		case *dns.SOA:
			versions = append(versions, uint64(rr.Serial))
		case *dns.TXT:
			var v uint64
			_, _ = fmt.Sscan(rr.Txt[0], &v)
			versions = append(versions, v)
		}
	}
	return versions
}

// footprint is what a process has taken.
type footprint struct {
	heap                    uint64
	goroutines, descriptors int
}

func (c *churn) footprint() (f footprint) {
	c.t.Helper()
	runtime.GC()
	runtime.GC() // what finalizers let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		c.t.Fatal(err)
	}
	return footprint{m.HeapAlloc, runtime.NumGoroutine(), len(entries)}
}

// comesBackTo waits until no more is taken than before, with some room: for the
// heap 8 MiB, which 10,000 zones of some kilobytes exceed far.
func (c *churn) comesBackTo(before footprint) {
	c.t.Helper()
	var now footprint
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(100 * time.Millisecond); time.Now().Before(deadline); <-tick.C {
		now = c.footprint()
		if now.heap <= before.heap+8<<20 && now.goroutines <= before.goroutines && now.descriptors <= before.descriptors {
			c.t.Logf("heap %d KiB, before %d KiB", now.heap>>10, before.heap>>10)
			return
		}
	}
	stacks := make([]byte, 1<<20)
	c.t.Errorf("before %+v, after %+v\n%s", before, now, strings.TrimSpace(string(stacks[:runtime.Stack(stacks, true)])))
}

// BenchmarkZoneChange is what it takes to replace one zone among many, by the
// path of the API and without its socket: parse, file, table. With files in
// memory (TMPDIR) fsync costs nothing.
func BenchmarkZoneChange(b *testing.B) {
	for _, many := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(many), func(b *testing.B) {
			c := newChurn(b, many, true)
			c.prefill(true)
			defer c.serve()()
			ctx, i := b.Context(), 0
			for b.Loop() {
				z := c.zones[i%many]
				i++
				change := api.ZoneChange{Verb: api.ReplaceZone, Name: z.name, From: "x", Text: z.text(uint64(i + 1))}
				if _, err := c.d.ChangeZone(ctx, change); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
