package dnsserver

import (
	"fmt"
	"testing"
	"testing/fstest"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// TestLOCToTheThousandth_RFC1876 reads every thousandth of a second on all four
// sides, and the shorter forms beside them.
func TestLOCToTheThousandth_RFC1876(t *testing.T) {
	const equator = uint32(1) << 31
	text := "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns.elsewhere.\n"
	for i := range 1000 {
		n, e := "N", "E"
		if i%2 == 1 {
			n, e = "S", "W"
		}
		text += fmt.Sprintf("l%d 60 LOC 1 2 32.%03d %s (3 4 5.%03d ; seconds\n %s 10m)\n", i, i, n, 999-i, e)
	}
	text += "loc 60 LOC 1 N 2 W 0\ngeneric 60 LOC \\# 16 00121613800000018000000200989680\n"
	src := config.Source{FS: fstest.MapFS{"z": {Data: []byte(text)}}, Dir: "."}
	zone, errs := ParseZone(src, &config.Zone{Name: "example.", File: "z"})
	if zone == nil {
		t.Fatal(errs.Render())
	}
	at := func(name string) *dns.LOC { return zone.nodes[name+".example."].get(dns.TypeLOC).rrs[0].(*dns.LOC) }
	for i := range uint32(1000) {
		lat, long := uint32(1*3600+2*60+32)*1000+i, uint32(3*3600+4*60+5)*1000+999-i
		want := [2]uint32{equator + lat, equator + long}
		if i%2 == 1 {
			want = [2]uint32{equator - lat, equator - long}
		}
		if rr := at(fmt.Sprint("l", i)); rr.Latitude != want[0] || rr.Longitude != want[1] {
			t.Errorf("%s: got %d, %d, want %d", rr, rr.Latitude, rr.Longitude, want)
		}
	}
	for name, want := range map[string][2]uint32{
		"loc":     {equator + 3_600_000, equator - 2*3_600_000},
		"generic": {equator + 1, equator + 2},
	} {
		if rr := at(name); rr.Latitude != want[0] || rr.Longitude != want[1] {
			t.Errorf("%s: got %d, %d, want %d", rr, rr.Latitude, rr.Longitude, want)
		}
	}
}
