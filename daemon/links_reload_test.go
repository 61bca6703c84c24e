package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/busy"
)

// A change of the configuration reaches links and reports: those that stay keep
// what is known of them (T60), new ones take reports at once, and of those that
// go nothing is left.
func TestReloadReachesLinks_T60(t *testing.T) {
	r := newRig(t)
	config := func(max, links string) string {
		return strings.Replace(r.config("192.0.2.1"), "probes: [tcp]}", "probes: [tcp], maxConnections: "+max+"}", 1) + "links:\n" + links
	}
	const stays, goes, comes = "  - {name: stays, meter: push}\n", "  - {name: goes, meter: push}\n", "  - {name: comes, meter: push}\n"
	r.write("portolan.yaml", config("10", stays+goes))
	r.start()
	to := reporter{r.d.report, r.d.links}
	rates := busy.Rates{3e6, 1e6, 2e6}
	for _, name := range []string{"stays", "goes"} {
		if err := to.ReportRates(name, rates); err != nil {
			t.Fatal(err)
		}
	}
	connections := int64(7)
	if done, err := to.ReportServer("one", api.ServerReport{Connections: &connections, For: time.Hour}); err != nil || done.Full {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := r.apply(config("5", comes+stays)); err != nil {
		t.Fatal(err)
	}
	if !r.d.board.Table().Row("virtualServer/one").Full {
		t.Error("the report of before is not judged by the bound of now")
	}
	if err := to.ReportRates("comes", rates); err != nil {
		t.Error(err)
	}
	if err := to.ReportRates("goes", rates); err == nil {
		t.Error("a link that went takes reports")
	}
	states := r.d.links.States()
	if len(states) != 2 || states[0].Name != "comes" || states[1].Measured.IsZero() {
		t.Errorf("links: %+v", states)
	}
}
