package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// manyFarms is a configuration of n virtual servers, each with a farm of ten
// real servers; short, or with what an operator writes of each server.
func manyFarms(n int, long bool) string {
	var b strings.Builder
	b.WriteString("version: 1\nprobes: [{name: http, kind: http}]\nvirtualServers:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: v%d, address: 100.%d.%d.%d, port: 80, serve: {farm: f%d}}\n", i, 64+i/62500, i/250%250, i%250+1, i)
	}
	b.WriteString("serverFarms:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: f%d, port: 80, probes: [http], servers: [", i)
		for j := range 10 {
			at := fmt.Sprintf("10.%d.%d.%d", i/250/25, i/25%250, i%25*10+j)
			if long {
				fmt.Fprintf(&b, "{name: s%d, address: %s, weight: %d, maxConnections: 1000},", j, at, j+1)
			} else {
				b.WriteString(at + ",")
			}
		}
		b.WriteString("]}\n")
	}
	return b.String()
}

// Eight hundred virtual servers and eight thousand real servers load in less than a
// second, however they are put: nothing in the checks grows with the
// square of anything.
func TestLoad_ManyFarms(t *testing.T) {
	if testing.Short() {
		t.Skip("loads thousands of virtual servers")
	}
	for name, text := range map[string]string{
		"farms": manyFarms(800, false), "ports": manyPorts(800), "networks": manyNetworks(800), "pools": manyPools(800),
	} {
		t.Run(name, func(t *testing.T) {
			var m *Model
			var errs Errors
			if took := best(t, func() { m, errs = LoadBytes([]byte(text), on(text)) }); took > time.Second {
				t.Errorf("took %s", took)
			}
			if errs.Failed() || len(m.VirtualServers) != 800 {
				t.Error(errs.Render())
			}
		})
	}
}

// manyPorts is n virtual servers at one address, which all use one policy that
// sends to a farm of a thousand servers, which stand in others too.
func manyPorts(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\nvirtualServers:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: v%d, address: 192.0.2.1, serve: {ports: [%d, %d-%d], policy: p, farm: f0}}\n", i, 1+i*20, 2+i*20, 20+i*20)
	}
	b.WriteString("slb: {policies: [{name: p, rules: [{class: c, action: {farm: f1, backup: f2}}]}], classes: [{name: c, sources: [10.0.0.0/8]}]}\nserverFarms:\n")
	for f := range 3 {
		fmt.Fprintf(&b, "  - {name: f%d, servers: [", f)
		for j := range 1000 {
			fmt.Fprintf(&b, "10.1.%d.%d,", j/250, 1+j%250)
		}
		b.WriteString("]}\n")
	}
	return b.String()
}

// manyNetworks is n virtual servers of networks inside each other.
func manyNetworks(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\nserverFarms: [{name: f, servers: [10.0.0.1]}]\nvirtualServers:\n")
	for i := range n {
		bits := 8 + i%24
		at, _ := netip.AddrFrom4([4]byte{100, byte(i / 2400), byte(i / 240), byte(i)}).Prefix(bits)
		fmt.Fprintf(&b, "  - {name: v%d, address: %s, serve: {mask: %d, ports: [%d], farm: f}}\n", i, at.Addr(), bits, 1+i)
	}
	return b.String()
}

// manyPools is n virtual servers with a farm and a pool of their own each.
func manyPools(n int) string {
	var b, farms, pools strings.Builder
	b.WriteString("version: 1\nvirtualServers:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: v%d, address: 100.64.%d.%d, port: 80, serve: {farm: f%d}}\n", i, i/250, i%250, i)
		fmt.Fprintf(&farms, "  - {name: f%d, snatPool: p%d, servers: [{address: 10.1.1.1, port: %d}]}\n", i, i, 1+i)
		fmt.Fprintf(&pools, "  - {name: p%d, addresses: [10.9.9.0/24], ports: %d-%d}\n", i, 1024+20*i, 1043+20*i)
	}
	return b.String() + "serverFarms:\n" + farms.String() + "snatPools:\n" + pools.String()
}

func BenchmarkLoad_ManyFarms(b *testing.B) {
	for _, long := range []bool{false, true} {
		b.Run(fmt.Sprintf("long=%v", long), func(b *testing.B) {
			text := manyFarms(10_000, long)
			src := on(text)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, errs := Load(src); errs != nil {
					b.Fatal(errs.Render())
				}
			}
		})
	}
}
