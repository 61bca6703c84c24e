package daemon

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/status"
)

const servedConfig = `version: 1
zones: [{name: example.com, file: example.com.zone, names: [{name: www, pool: web}]}]
pools: [{name: web, preferred: first, members: [{virtualServer: off}, {virtualServer: on}, {virtualServer: other}]}]
virtualServers:
  - {name: off, address: 203.0.113.1, port: 80, serve: {enabled: false, farm: f}}
  - {name: on, address: 203.0.113.2, port: 80, serve: {farm: f}}
  - {name: other, address: 203.0.113.3}
serverFarms: [{name: f, servers: [10.0.0.1]}]
`

// A virtual server that is switched off is in no answer; one that is served can
// be, and may be taken as down in a question, though no probe owns its row.
func TestExplainServed(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"portolan.yaml": servedConfig, "example.com.zone": zoneText} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	src, err := SourceOf(filepath.Join(dir, "portolan.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	b, errs := Build(src, nil, nil)
	if errs.Failed() {
		t.Fatal(errs)
	}
	for want, down := range map[string][]status.ID{"203.0.113.2": nil, "203.0.113.3": {"virtualServer/on"}} {
		e, err := b.Explain(b.Rows(), nil, Query{Name: "www.example.com.", Type: "A", Client: netip.MustParseAddr("192.0.2.7"), Down: down})
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := e.WriteText(&text, time.Now()); err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`\sA\s+` + regexp.QuoteMeta(want) + `\s`).MatchString(text.String()) {
			t.Errorf("%v are down: want %s:\n%s", down, want, text.String())
		}
	}
	if row := b.Rows().Row("serverFarm/f"); row == nil || row.Health != status.Unknown {
		t.Errorf("the row of the farm: %+v", row)
	}
}
