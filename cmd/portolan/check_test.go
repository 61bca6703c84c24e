package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// large writes a configuration with 1,000 pools, 2,000 virtual servers, a zone
// file of 10,000 records and so many dynamic names, and gives its path.
func large(tb testing.TB, names int) string {
	tb.Helper()
	var zone, c strings.Builder
	zone.WriteString("$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\n")
	for i := range 10_000 {
		fmt.Fprintf(&zone, "host%d A 10.%d.%d.%d\n", i, i/62500, i/250%250, i%250+1)
	}
	zone.WriteString("ns A 192.0.2.53\n")
	c.WriteString("version: 1\nzones:\n  - name: example.com\n    file: example.com.zone\n    names:\n")
	for i := range names {
		fmt.Fprintf(&c, "      - {name: n%d, pool: p%d}\n", i, i%1000)
	}
	c.WriteString("pools:\n")
	for i := range 1000 {
		fmt.Fprintf(&c, "  - name: p%d\n    preferred: topology\n    alternate: round-robin\n", i)
		fmt.Fprintf(&c, "    members: [{virtualServer: a%d, weight: 3}, {virtualServer: b%d}]\n", i, i)
	}
	c.WriteString("virtualServers:\n")
	for i := range 1000 {
		fmt.Fprintf(&c, "  - {name: a%d, address: 10.0.%d.%d, port: 80, probes: [http]}\n", i, i/250, i%250+1)
		fmt.Fprintf(&c, "  - {name: b%d, address: 10.1.%d.%d, port: 80, probes: [http]}\n", i, i/250, i%250+1)
	}
	c.WriteString("probes: [{name: http, kind: http}]\ntopology: [{prefer: {prefix: 10.0.0.0/16}}]\n")
	dir := tb.TempDir()
	for name, text := range map[string]string{"example.com.zone": zone.String(), "portolan.yaml": c.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return filepath.Join(dir, "portolan.yaml")
}

func check(tb testing.TB, path string) {
	tb.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(tb.Context(), []string{"check", path}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		tb.Fatalf("exit code %d: %.2000s", code, stderr.String())
	}
	if want := ": ok: 1 zone, 1000 pools, 2000 probes\n"; !strings.HasSuffix(stdout.String(), want) {
		tb.Fatalf("got %q, want %q", stdout.String(), want)
	}
}

// A check of 10,000 records and 1,000 pools takes less than a second: of the
// clock, or of the processor where others use this machine too. The best of a
// few tries counts.
func TestCheckIsFast(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector slows it down tenfold")
	}
	path := large(t, 1000)
	best := time.Hour
	for try := 0; try < 6 && best > time.Second; try++ {
		start, busy := time.Now(), processor(t)
		check(t, path)
		best = min(best, time.Since(start), processor(t)-busy)
	}
	if t.Logf("%s", best); best > time.Second {
		t.Errorf("took %s", best)
	}
}

// processor gives the time that this process has computed for.
func processor(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkCheck(b *testing.B) {
	for _, names := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("names=%d", names), func(b *testing.B) {
			path := large(b, names)
			b.ReportAllocs()
			for b.Loop() {
				check(b, path)
			}
		})
	}
}
