package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/link"
	"github.com/portolan-lb/portolan/status"
)

// reports keeps what virtual servers report of themselves: as gauges, which
// algorithms read, and as the word full, where connections have a bound. What
// is too old is unknown, and an unknown number of connections is no full one:
// a script that died must not keep a server out.
//
// Its methods may be called from any goroutine.
type reports struct {
	board *status.Board

	mu     sync.Mutex
	bound  map[string]int // maxConnections, of every virtual server there is; 0: none, or not by what is reported
	kept   map[string]report
	marked map[string]bool // of which the board was told whether they are full
}

// report is the last one of a virtual server.
type report struct {
	status.Gauge
	by     string
	length time.Duration // it counts so long
	until  time.Time
}

func newReports(board *status.Board) *reports {
	return &reports{board: board, kept: map[string]report{}, marked: map[string]bool{}}
}

// want says which virtual servers there are. What those that stay have reported
// stays too, and is judged by the bound of now (T60).
func (r *reports) want(servers []*config.VirtualServer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bound = make(map[string]int, len(servers))
	for _, v := range servers {
		r.bound[v.Name] = v.MaxConnections
		if v.Served() { // its connections are counted, not reported, and serve.maxConnections bounds them
			r.bound[v.Name] = 0
		}
	}
	for name := range r.marked {
		if r.bound[name] == 0 {
			delete(r.marked, name)
			r.board.Unmark("config", serverID(name))
		}
	}
	for name, kept := range r.kept {
		switch max, there := r.bound[name]; {
		case !there:
			delete(r.kept, name)
			r.board.Unmeasure(serverID(name))
		case max > 0:
			r.judge(name, kept, max)
		}
	}
}

func serverID(name string) status.ID { return status.MakeID(status.KindVirtualServer, name) }

// reporter implements [api.Reporter].
type reporter struct {
	*reports
	links *link.Links
}

// ReportRates implements [api.Reporter].
func (r reporter) ReportRates(name string, rates busy.Rates) error {
	return conflict(r.links.Push(name, rates))
}

// ReportOctets implements [api.Reporter].
func (r reporter) ReportOctets(name string, o api.Octets) error {
	return conflict(r.links.PushOctets(name, o.In, o.Out, o.Bits))
}

// conflict is what came between when a link that was looked up takes no report.
func conflict(err error) error {
	if err == nil {
		return nil
	}
	return api.Errorf(api.Conflict, "%v", err)
}

// ReportServer implements [api.Reporter].
func (r *reports) ReportServer(name string, in api.ServerReport) (api.ServerReported, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := serverID(name)
	max, there := r.bound[name]
	if !there { // the caller has looked, so a reload came between
		return api.ServerReported{}, api.Errorf(api.NotFound, "there is no virtual server %q", name)
	}
	kept := report{Gauge: status.NoGauge(), by: in.By, length: in.For, until: time.Now().Add(in.For)}
	if in.Connections != nil {
		kept.Connections = float64(*in.Connections)
	}
	if in.Latency != nil {
		kept.Latency = in.Latency.Seconds()
	}
	kept.At = time.Now()
	r.kept[name] = kept
	r.board.Measure(map[status.ID]status.Gauge{id: kept.Gauge})
	done := api.ServerReported{ID: id, Until: kept.until}
	if max > 0 {
		done.Full, done.Why = r.judge(name, kept, max)
	}
	return done, nil
}

// judge says on the board whether a server is full.
func (r *reports) judge(name string, kept report, max int) (full bool, why string) {
	switch {
	case kept.Connections >= float64(max):
		full, why = true, fmt.Sprintf("%.0f connections, and maxConnections is %d", kept.Connections, max)
	case kept.Connections >= 0:
		why = fmt.Sprintf("%.0f connections, below maxConnections %d", kept.Connections, max)
	default: // NaN
		why = "its last report does not tell its connections"
	}
	r.mark(name, full, why, kept.by)
	return full, why
}

func (r *reports) mark(name string, full bool, why, by string) {
	r.marked[name] = true
	r.board.Mark(map[status.ID]status.Load{serverID(name): {Full: full, Why: why, By: by}})
}

// run lets reports age until ctx ends.
func (r *reports) run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			r.age(now)
		}
	}
}

// age forgets the reports whose time is over.
func (r *reports) age(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, kept := range r.kept {
		if now.Before(kept.until) {
			continue
		}
		delete(r.kept, name)
		r.board.Unmeasure(serverID(name))
		if r.bound[name] > 0 {
			r.mark(name, false, fmt.Sprintf("its last report is older than %s: how many connections it has is unknown", config.Duration(kept.length)), "clock")
		}
	}
}
