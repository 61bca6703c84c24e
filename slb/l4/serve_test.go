package l4

import "testing"

// A connection to a virtual server goes to one of its servers, of the family of
// the client; anything else is not touched (FAQ 1.1.1).
func TestServe(t *testing.T) {
	b := newBalancer(t, simple)
	got := b.shares("192.0.2.5:1000 > 203.0.113.10:80/tcp")
	for _, want := range []string{"10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"} {
		if got[want] < 0.3 || got[want] > 0.36 {
			t.Errorf("%s has %.2f of %v", want, got[want], got)
		}
	}
	for text, want := range map[string]string{
		"[2001:db8:9::1]:1000 > [2001:db8::10]:80/tcp": "[fd01::1]:8080",
		"192.0.2.5:1000 > 203.0.113.10:81/tcp":         "-",
		"192.0.2.5:1000 > 203.0.113.10:80/udp":         "-",
		"192.0.2.5:1000 > 203.0.113.11:80/tcp":         "-",
		"192.0.2.5 > 203.0.113.10/icmp":                "-",
	} {
		if got := b.send(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// What is for no virtual server is not touched, whatever priority it comes with:
// one that the sender or a VLAN gave it is no network of ours (FAQ 1.1.1).
func TestServe_OthersPriority(t *testing.T) {
	b := newBalancer(t, `
version: 1
virtualServers:
  - {name: inner, address: 203.0.113.16, serve: {type: ip, mask: {v4: 28}, farm: web}}
  - {name: outer, address: 203.0.113.0, serve: {type: ip, mask: {v4: 24}, farm: web}}
  - {name: ports, address: 203.0.113.16, serve: {type: tcp, mask: {v4: 28}, ports: [80], farm: web}}
serverFarms:
  - name: web
    servers: [{name: one, address: 10.1.0.1}]
`)
	for priority := range uint32(16) {
		for _, text := range []string{"192.0.2.5:1000 > 198.51.100.7:22/tcp", "[2001:db8:9::1]:1000 > [2001:db8:7::1]:22/tcp"} {
			p := packetOf(t, text)
			p.Priority = priority
			trace, err := b.world.Walk("prerouting", p)
			if err != nil {
				t.Fatal(err)
			}
			if got := verdict(p, trace); got != "-" || trace.Packet.Ct.Mark != 0 || trace.Packet.Priority != priority {
				t.Errorf("%s of priority %d: %s, conntrack mark %#x, priority %d", text, priority, got, trace.Packet.Ct.Mark, trace.Packet.Priority)
			}
		}
	}
	for text, want := range map[string]string{"192.0.2.5:1 > 203.0.113.17:80/tcp": "ports", "192.0.2.5:1 > 203.0.113.17:81/tcp": "inner", "192.0.2.5:1 > 203.0.113.99:81/tcp": "outer"} {
		if got := b.VirtualServerOf(b.walk("prerouting", packetOf(t, text)).Packet.Ct.Mark); got != want {
			t.Errorf("%s is of %q, want %q", text, got, want)
		}
	}
}
