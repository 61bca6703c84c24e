package config

import (
	"reflect"
	"strings"
	"testing"
)

// Every key of dns.limits is listed once, under the name that metrics and the
// manual use, and has a default within its own range.
func TestLimits_All(t *testing.T) {
	m, errs := Load(on("version: 1\ndns: {limits: {connections: 7, idleTimeout: 1500ms, zone: {fileSize: 2KiB}}}\n"))
	if errs.Failed() {
		t.Fatal(errs.Render())
	}
	got := map[string]float64{}
	for name, n := range m.DNS.Limits.All() {
		if _, twice := got[name]; twice || strings.HasSuffix(name, ".") || name == "" {
			t.Errorf("%q is listed twice or has no name", name)
		}
		got[name] = n
	}
	fields := reflect.TypeFor[Limits]().NumField() - 1 + reflect.TypeFor[ZoneLimits]().NumField()
	if len(got) != fields {
		t.Errorf("%d of %d limits are listed", len(got), fields)
	}
	for name, want := range map[string]float64{"connections": 7, "idleTimeout": 1.5, "zone.fileSize": 2048, "zone.records": 20_000_000, "cnameChain": 8} {
		if got[name] != want {
			t.Errorf("%s: %v, want %v", name, got[name], want)
		}
	}
}

// A zone carries the limits that its file is read under.
func TestLimits_Zone(t *testing.T) {
	m, errs := Load(on("version: 1\ndns: {limits: {zone: {records: 5}}}\nzones: [{name: example.com, file: z}]\n", "z"))
	if errs.Failed() {
		t.Fatal(errs.Render())
	}
	if l := m.Zones[0].Limits; l == nil || l.Records != 5 || l.Includes != 1000 {
		t.Errorf("%+v", l)
	}
	if m, _ := Load(on("version: 1\n")); m.DNS.Limits != DefaultLimits() {
		t.Errorf("without a dns section: %+v", m.DNS.Limits)
	}
}
