package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// large is a configuration of 10,000 names and 1,000 pools, in block style:
// about 30,000 lines.
func large() string {
	var b strings.Builder
	b.WriteString("version: 1\nzones:\n  - name: example.com\n    file: example.com.zone\n    names:\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, "      - name: n%d\n        pool: p%d\n", i, i%1000)
	}
	b.WriteString("pools:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  - name: p%d\n    preferred: topology\n    alternate: round-robin\n    members:\n", i)
		fmt.Fprintf(&b, "      - {virtualServer: a%d, weight: 3}\n      - virtualServer: b%d\n        weight: 4\n", i, i)
	}
	b.WriteString("virtualServers:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  - {name: a%d, address: 10.0.%d.%d, port: 80, probes: [http]}\n", i, i/250, i%250+1)
		fmt.Fprintf(&b, "  - {name: b%d, address: 10.1.%d.%d, port: 80, probes: [http]}\n", i, i/250, i%250+1)
	}
	b.WriteString("probes: [{name: http, kind: http}]\ntopology: [{prefer: {prefix: 10.0.0.0/8}}]\n")
	return b.String()
}

// Ten thousand names and a thousand pools load in well under a second.
func TestLoad_Large(t *testing.T) {
	src := on(large(), "example.com.zone")
	var m *Model
	var errs Errors
	if took := best(t, func() { m, errs = Load(src) }); took > time.Second {
		t.Errorf("took %s", took)
	}
	if errs != nil {
		t.Fatal(errs.Render())
	}
	if len(m.Zones[0].Names) != 10_000 || len(m.Pools) != 1000 {
		t.Errorf("%d names, %d pools", len(m.Zones[0].Names), len(m.Pools))
	}
}

func BenchmarkLoad(b *testing.B) {
	text := large()
	src := on(text, "example.com.zone")
	b.ReportMetric(float64(strings.Count(text, "\n")), "lines")
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, errs := Load(src); errs != nil {
			b.Fatal(errs.Render())
		}
	}
}

// BenchmarkParse is the part of BenchmarkLoad that the two parsers take.
func BenchmarkParse(b *testing.B) {
	text := []byte(large())
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		f := newFile("c.yaml", "c.yaml", 0, text)
		if f.parse(&journal{}); f.root == nil {
			b.Fatal("not parsed")
		}
	}
}
