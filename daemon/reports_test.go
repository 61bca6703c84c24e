package daemon

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// A report makes gauges and, with maxConnections, the word full, from the bound
// on and not below it; what it does not tell, and what is too old, is unknown,
// and makes nobody full (T28).
func TestReports_T28(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		board := status.NewBoard(100)
		r := newReports(board)
		r.want([]*config.VirtualServer{{Name: "a", MaxConnections: 100}, {Name: "b"}})
		go func() { _ = r.run(t.Context()) }() // ends with the test's context, for which the bubble waits

		send := func(name string, connections int64, latency, length time.Duration) api.ServerReported {
			t.Helper()
			in := api.ServerReport{For: length, By: "script"}
			if connections >= 0 {
				in.Connections = &connections
			}
			if latency > 0 {
				in.Latency = &latency
			}
			done, err := r.ReportServer(name, in)
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		check := func(what, name string, connections, latency float64, full bool) {
			t.Helper()
			same := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
			id := status.MakeID(status.KindVirtualServer, name)
			g, _ := board.Gauges().Get(id)
			if !same(g.Connections, connections) || !same(g.Latency, latency) || board.Table().Row(id).Full != full {
				t.Errorf("%s: %+v, full %v", what, g, board.Table().Row(id).Full)
			}
		}
		unknown := math.NaN()

		check("at first", "a", unknown, unknown, false)
		if done := send("a", 99, 8*time.Millisecond, 30*time.Second); done.Full || done.Why != "99 connections, below maxConnections 100" || !done.Until.Equal(time.Now().Add(30*time.Second)) {
			t.Errorf("%+v", done)
		}
		check("below", "a", 99, 0.008, false)
		if done := send("a", 100, 0, 30*time.Second); !done.Full || done.Why != "100 connections, and maxConnections is 100" {
			t.Errorf("%+v", done)
		}
		check("reached", "a", 100, unknown, true)
		send("b", 1e6, 0, 2*time.Second)
		check("without a bound", "b", 1e6, unknown, false)

		time.Sleep(29 * time.Second)
		synctest.Wait()
		check("b is old", "b", unknown, unknown, false)
		check("a is not", "a", 100, unknown, true)
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		check("a is old", "a", unknown, unknown, false)
		r.want([]*config.VirtualServer{{Name: "b"}})
		if _, ok := board.Table().Lookup("virtualServer/a"); ok {
			t.Error("a row is left of a server that went after its report")
		}
		r.want([]*config.VirtualServer{{Name: "a", MaxConnections: 100}})

		send("a", 150, 0, time.Minute)
		r.want([]*config.VirtualServer{{Name: "a", MaxConnections: 200}})
		check("a higher bound", "a", 150, unknown, false)
		r.want([]*config.VirtualServer{{Name: "a", MaxConnections: 120}})
		check("a lower bound", "a", 150, unknown, true)
		r.want([]*config.VirtualServer{{Name: "a"}})
		check("no bound", "a", 150, unknown, false)
		r.want([]*config.VirtualServer{{Name: "a", MaxConnections: 120}})
		r.want(nil)
		check("gone", "a", unknown, unknown, false)
		if _, ok := board.Table().Lookup("virtualServer/a"); ok {
			t.Error("a row is left of a server that is gone")
		}
		if _, err := r.ReportServer("a", api.ServerReport{}); err == nil {
			t.Error("a server that is gone may report")
		}

		var said []string
		for _, e := range board.Events(0) {
			said = append(said, e.Old+" -> "+e.New+": "+e.Why+" by "+e.By)
		}
		want := []string{
			"unknown -> unknown full: 100 connections, and maxConnections is 100 by script",
			"unknown full -> unknown: its last report is older than 30s: how many connections it has is unknown by clock",
		}
		for i := range want {
			if i >= len(said) || said[i] != want[i] {
				t.Errorf("events %q, want first %q", said, want)
				break
			}
		}
	})
}

// The connections of what is served here are counted, and serve.maxConnections
// bounds them: nobody's report makes it full, which would fight over the row.
func TestReports_Served(t *testing.T) {
	board := status.NewBoard(100)
	r := newReports(board)
	server := &config.VirtualServer{Name: "a", MaxConnections: 100}
	many := int64(500)
	full := func() bool {
		t.Helper()
		done, err := r.ReportServer("a", api.ServerReport{For: time.Minute, Connections: &many})
		if err != nil {
			t.Fatal(err)
		}
		if is := board.Table().Row(serverID("a")).Full; is != done.Full {
			t.Errorf("the row says %v", is)
		}
		return done.Full
	}
	r.want([]*config.VirtualServer{server})
	if !full() {
		t.Error("one that others serve is full as it reports")
	}
	served := *server
	served.Serve = &config.Serve{Enabled: true}
	r.want([]*config.VirtualServer{&served})
	if full() || board.Table().Row(serverID("a")).Full {
		t.Error("one that is served here is full as somebody reports")
	}
}
