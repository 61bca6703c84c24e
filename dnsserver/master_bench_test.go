package dnsserver

import (
	"fmt"
	"strings"
	"testing"
)

func BenchmarkParseZone(b *testing.B) {
	var text strings.Builder
	text.WriteString("$TTL 300\n@ SOA ns hostmaster 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n")
	const records = 200_000
	for i := range records {
		fmt.Fprintf(&text, "host%d A 10.%d.%d.%d\n", i, i>>16, i>>8&255, i&255)
	}
	zone := text.String()
	for b.Loop() {
		if _, errs := parseText("example.com.", zone); errs != nil {
			b.Fatal(errs)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
}
