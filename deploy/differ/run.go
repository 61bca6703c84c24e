package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// run makes the world of the seed, starts the servers, asks them everything
// and prints what differs.
func run(ctx context.Context, o *options, dir string) error {
	began := time.Now()
	w := generate(o.seed)
	records := 0
	for _, z := range w.zones {
		records += len(z.records)
	}
	fmt.Printf("seed %d: %d zones, %d records, %d queries\n", o.seed, len(w.zones), records, o.queries)
	ctx, cancel := context.WithCancel(ctx)
	servers, err := launchAll(ctx, w, o, dir)
	defer func() {
		cancel()
		for _, s := range servers {
			s.Wait()
		}
	}()
	if err != nil {
		return err
	}
	t := newTally(o, servers)
	if err := askAll(ctx, w, o, servers, t); err != nil {
		return err
	}
	fmt.Printf("%.0f s\n\n", time.Since(began).Seconds())
	return t.report(os.Stdout)
}

// launchAll starts Portolan and those of the others that are installed. It
// gives those that were started also when it fails.
func launchAll(ctx context.Context, w *world, o *options, dir string) ([]*server, error) {
	var servers []*server
	all := contenders(o.program)
	for i := range all {
		s, err := launch(ctx, &all[i], w, filepath.Join(dir, all[i].name), func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
		if s != nil {
			servers = append(servers, s)
			fmt.Printf("%s: %s, %d zones\n", s.Name, s.Version, len(s.zones))
		}
		if err != nil {
			return servers, err
		}
	}
	if len(servers) == 0 || servers[0].Name != all[0].name {
		return servers, fmt.Errorf("%s is not there: run make build", o.program)
	}
	if len(servers) == 1 {
		return servers, fmt.Errorf("no server to compare with is installed (Debian: apt install nsd knot bind9 gdnsd)")
	}
	return servers, nil
}

// askAll puts all queries to all servers.
func askAll(ctx context.Context, w *world, o *options, servers []*server, t *tally) error {
	queries := make(chan *query)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(queries)
		a := newAsker(w)
		for range o.queries {
			select {
			case queries <- a.query():
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range o.workers {
		group.Go(func() error {
			e := &examiner{world: w, servers: servers, tally: t}
			for _, s := range servers {
				e.callers = append(e.callers, &caller{server: s.Addr})
			}
			defer e.close()
			for q := range queries {
				if err := e.examine(q); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// examiner asks every server one query after the other. The first server is
// Portolan.
type examiner struct {
	*world
	servers []*server
	callers []*caller
	tally   *tally
}

func (e *examiner) close() {
	for _, c := range e.callers {
		c.close()
	}
}

func (e *examiner) ask(i int, q *query) (*heard, error) {
	r, err := e.callers[i].ask(q, q.tcp)
	if err != nil {
		return nil, fmt.Errorf("%s to query %d, %s: %w", e.servers[i].Name, q.number, q, err)
	}
	return &heard{first: r, full: r, whole: r}, nil
}

// examine asks everybody one query, holds our reply against the records, and
// the others' replies against ours.
func (e *examiner) examine(q *query) error {
	ours, err := e.ask(0, q)
	if err != nil {
		return err
	}
	e.tally.asked()
	zone := e.zoneOf(q.name)
	var others []*pair
	for i := 1; i < len(e.servers); i++ {
		if s := e.servers[i]; zone == nil || s.zones[zone] {
			theirs, err := e.ask(i, q)
			if err != nil {
				return err
			}
			p := &pair{world: e.world, query: q, server: s.Name, holds: s.zones, ours: ours, theirs: theirs}
			if err := e.again(i, q, ours, theirs, s.zones); err != nil {
				return err
			}
			others = append(others, p)
		}
	}
	if text := faultOf(e.world, q, ours); text != "" {
		e.tally.fault(q, ours, text)
	}
	e.tally.add(others)
	return nil
}

// again asks what else both have to be asked, if they differ.
func (e *examiner) again(i int, q *query, ours, theirs *heard, zones map[*zone]bool) error {
	if !differInSections(ours, theirs) {
		return nil
	}
	return errors.Join(ours.again(e.callers[0], q), ours.finish(e.callers[0], q, e.world, e.servers[0].zones),
		theirs.again(e.callers[i], q), theirs.finish(e.callers[i], q, e.world, zones))
}

// tally counts differences by class and server. It is safe for use by several
// goroutines.
type tally struct {
	mu      sync.Mutex
	o       *options
	out     io.Writer // what is found is told here
	servers []string
	queries int
	pairs   map[string]int            // compared, by server
	equal   map[string]int            // by server
	classes map[string]map[string]int // by class and server
	alone   map[string]int            // by class: every other server says the same, and we do not
	strange map[string]int            // unexplained, by server
	faults  int
	shown   map[string]int
}

func newTally(o *options, servers []*server) *tally {
	t := &tally{o: o, out: os.Stdout, pairs: map[string]int{}, equal: map[string]int{}, classes: map[string]map[string]int{},
		alone: map[string]int{}, strange: map[string]int{}, shown: map[string]int{}}
	for _, s := range servers[1:] {
		t.servers = append(t.servers, s.Name)
	}
	return t
}

func (t *tally) asked() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queries++
}

// fault counts and prints a reply of ours that is wrong whatever others say.
func (t *tally) fault(q *query, ours *heard, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.faults++; t.faults <= t.o.show {
		fmt.Fprintf(t.out, "FAULT: %s\n  query %d: %s\n  portolan %s\n\n", text, q.number, q, ours.first.text(q))
	}
}

// add counts the differences of one query.
func (t *tally) add(others []*pair) {
	t.mu.Lock()
	defer t.mu.Unlock()
	byClass := map[string]int{}
	same := true
	for i, p := range others {
		t.pairs[p.server]++
		same = same && (i == 0 || differ(others[0].theirs, p.theirs) == 0)
		found, left := p.classify()
		if len(found) == 0 && left == 0 {
			t.equal[p.server]++
		}
		for _, c := range found {
			t.count(c.name, p)
			byClass[c.name]++
		}
		if left != 0 {
			t.unexplained(p, left)
		}
	}
	for name, n := range byClass {
		if same && n == len(others) && n > 1 {
			t.alone[name]++
		}
	}
}

func (t *tally) count(class string, p *pair) {
	if t.classes[class] == nil {
		t.classes[class] = map[string]int{}
	}
	t.classes[class][p.server]++
	if key := class + " " + p.server; class == t.o.sample && t.shown[key] < t.o.show {
		t.shown[key]++
		fmt.Fprintf(t.out, "%s: %s\n\n", class, p)
	}
}

func (t *tally) unexplained(p *pair, left facet) {
	t.strange[p.server]++
	if key := p.server + left.String(); t.shown[key] < t.o.show {
		t.shown[key]++
		fmt.Fprintf(t.out, "UNEXPLAINED (%s): %s\n\n", left, p)
	}
}
