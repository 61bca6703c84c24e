package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/doctor"
	"github.com/portolan-lb/portolan/nettest"
)

const doctorConfig = `version: 1
dns: {listeners: [{address: "10.0.0.1:53"}]}
links:
  - {name: telecom, interface: wan1, nextHop: 192.0.2.254}
  - {name: unicom, interface: wan2, nextHop: 198.51.100.254, snat: none}
linkGroups: [{name: both, members: [telecom, unicom]}]
outbound: {interfaces: [lan0], helpers: [], virtualServers: [{name: all, linkGroup: both}]}
dnsProxy: {pool: all}
dnsServerPools: [{name: all, members: [one]}]
dnsServers: [{name: one, address: 192.0.2.53, link: telecom}]
`

// patient is a gateway in a namespace, and its configuration.
type patient struct {
	*nettest.Space
	t    *testing.T
	file string
}

func newPatient(t *testing.T) *patient {
	p := &patient{nettest.New(t), t, filepath.Join(t.TempDir(), "gateway.yaml")}
	t.Setenv("PORTOLAN_SOCKET", filepath.Join(t.TempDir(), "sock"))
	if err := os.WriteFile(p.file, []byte(doctorConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	others := nettest.New(t)
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/all/keep_addr_on_down"} {
		p.Set(name, "1")
	}
	for i, name := range []string{"lan0", "wan1", "wan2"} {
		p.Cable(name, others, "other"+name)
		p.IP("addr add " + []string{"10.0.0.1/24", "192.0.2.1/24", "198.51.100.1/24"}[i] + " dev " + name)
		p.Set("ipv4/conf/"+name+"/rp_filter", "0")
	}
	p.Set("ipv4/conf/all/rp_filter", "0")
	p.IP("addr add fd00::1/64 dev lan0 nodad")
	for _, name := range []string{"wan1", "wan2"} {
		p.Set("ipv6/conf/"+name+"/accept_ra", "2")
	}
	return p
}

// examine gives the findings, and checks the exit code against them.
func (p *patient) examine() (r doctor.Report) {
	p.t.Helper()
	var stdout, stderr bytes.Buffer
	var code int
	p.Do(func() { code = run(p.t.Context(), []string{"doctor", "-c", p.file, "-o", "json"}, &stdout, &stderr) })
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || stderr.Len() > 0 {
		p.t.Fatalf("exit code %d, %v: %s%s", code, err, &stdout, &stderr)
	}
	if code != r.ExitCode() || !r.Configured {
		p.t.Errorf("exit code %d for %+v", code, r)
	}
	return r
}

// found gives the findings that a healthy patient has not.
func (p *patient) found(healthy doctor.Report) (list []doctor.Finding) {
	p.t.Helper()
	for _, f := range p.examine().Findings {
		if !slices.ContainsFunc(healthy.Findings, func(o doctor.Finding) bool { return o.ID == f.ID && o.What == f.What }) {
			list = append(list, f)
		}
	}
	return list
}

// Each condition is found, the command that is told repairs it, and it is gone
// (acceptance 24 for the three settings of trap 1).
func TestDoctorRepairs_Root(t *testing.T) {
	p := newPatient(t)
	healthy := p.examine()
	for _, f := range healthy.Findings {
		if f.Level == doctor.Problem {
			t.Errorf("a healthy gateway has %+v", f)
		}
	}
	set := func(name, value string) func() { return func() { p.Set(name, value) } }
	nft := func(text string) func() { return func() { p.Must(text, "nft", "-f", "-") } }
	ip := func(text string) func() { return func() { p.IP(text) } }
	mangle := func(hook, rule string) func() {
		return nft(fmt.Sprintf("table ip mangle {\n chain X {\n type filter hook %s priority mangle\n %s\n }\n}\n", hook, rule))
	}
	for _, c := range []struct {
		id    string
		spoil func()
	}{
		{"src-valid-mark", set("ipv4/conf/all/src_valid_mark", "1")},
		{"src-valid-mark", set("ipv4/conf/wan1/src_valid_mark", "1")},
		{"fwmark-reflect", set("ipv4/fwmark_reflect", "1")},
		{"fwmark-reflect", set("ipv6/fwmark_reflect", "1")},
		{"tcp-fwmark-accept", set("ipv4/tcp_fwmark_accept", "1")},
		{"rp-filter", set("ipv4/conf/wan2/rp_filter", "1")},
		{"rp-filter", set("ipv4/conf/all/rp_filter", "1")},
		{"forwarding", set("ipv4/ip_forward", "0")},
		{"forwarding", set("ipv4/conf/lan0/forwarding", "0")},
		{"forwarding", set("ipv6/conf/all/forwarding", "0")},
		{"accept-ra", set("ipv6/conf/wan1/accept_ra", "1")},
		{"ipv6-disabled", set("ipv6/conf/wan2/disable_ipv6", "1")},
		{"tcp-loose", set("netfilter/nf_conntrack_tcp_loose", "0")},
		{"interface-down", ip("link set wan2 down")},
		{"rule-marks", ip("rule add pref 2001 fwmark 0x100/0x3f00 lookup 1")},
		{"rule-before", ip("rule add pref 100 from 10.0.0.0/8 lookup 10")},
		{"rule-before", ip("-6 rule add pref 101 from fd00::/8 lookup 10")},
		{"marks", mangle("prerouting", "iifname lan0 meta mark set 1")},
		{"marks", mangle("postrouting", "ct mark set ct mark | 0x8000000")},
		{"forward-dropped", nft("table ip filter {\n chain FORWARD {\n type filter hook forward priority filter; policy drop\n iifname wg0 accept\n }\n}\n")},
		{"queries-dropped", nft("table inet fw {\n chain i {\n type filter hook input priority filter; policy drop\n tcp dport 22 accept\n }\n}\n")},
		{"source-rewritten", nft("table ip nat {\n chain p {\n type nat hook postrouting priority srcnat\n oifname wan1 snat to 198.51.100.7\n }\n}\n")},
		{"source-rewritten", nft("table ip nat {\n chain p {\n type nat hook postrouting priority srcnat\n oifname wan2 masquerade\n }\n}\n")},
		{"untracked", nft("table inet raw {\n chain p {\n type filter hook prerouting priority raw\n iifname lan0 notrack\n }\n}\n")},
		{"queries-taken", nft("table ip dns {\n chain p {\n type nat hook prerouting priority dstnat\n udp dport 53 redirect to 5353\n }\n}\n")},
	} {
		c.spoil()
		list := p.found(healthy)
		if len(list) == 0 || slices.ContainsFunc(list, func(f doctor.Finding) bool { return f.ID != c.id }) {
			t.Errorf("%s: found %+v", c.id, list)
		}
		for _, f := range list {
			for _, command := range f.Repair {
				p.Must("", "sh", "-c", command)
			}
		}
		var left []doctor.Finding
		if !poll(func() bool { left = p.found(healthy); return len(left) == 0 }) { // a carrier takes a moment
			t.Errorf("%s: after the repair: %+v", c.id, left)
		}
		p.Must("flush ruleset\n", "nft", "-f", "-")
	}
}

// Who has a port of ours is named, and the command makes it give the port up.
func TestDoctorPorts_Root(t *testing.T) {
	p := newPatient(t)
	healthy := p.examine()
	for _, port := range []string{"53", "5300"} {
		cmd := exec.Command("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--bind-interfaces", "--listen-address=10.0.0.1", "--port="+port, "--user=root", "--pid-file=")
		var err error
		p.Do(func() { err = cmd.Start() })
		if err != nil {
			nettest.Missing(t, "dnsmasq: %v", err)
		}
		var list []doctor.Finding
		if !poll(func() bool {
			list = p.found(healthy)
			return len(list) == 1 && strings.Contains(list[0].Evidence, "/udp") && strings.Contains(list[0].Evidence, "/tcp")
		}) {
			t.Fatalf("found %+v", list)
		}
		f := list[0]
		want := fmt.Sprintf("port %s is taken by dnsmasq (process %d)", port, cmd.Process.Pid)
		if f.ID != "port-taken" || f.What != want {
			t.Errorf("found %+v, want %s", f, want)
		}
		if kill := fmt.Sprintf("kill %d", cmd.Process.Pid); f.Repair[0] == kill {
			p.Must("", "sh", "-c", kill)
		} else { // where the tests run as a unit of systemd that one is named
			_ = cmd.Process.Kill()
		}
		_ = cmd.Wait() // it ends by a signal
		if left := p.found(healthy); len(left) > 0 {
			t.Errorf("still found: %+v", left)
		}
	}
}

// Every setting that owners wish for is looked at: what serve would complain about
// the doctor finds.
func TestDoctorKnowsAllWishes_Root(t *testing.T) {
	p := newPatient(t)
	built, errs, err := build(p.file)
	if err != nil || errs.Failed() {
		t.Fatal(err, errs)
	}
	var facts *doctor.Facts
	p.Do(func() { facts, err = lookAt(built, false) })
	if err != nil {
		t.Fatal(err)
	}
	if len(facts.Wanted.Sysctls) < 10 {
		t.Errorf("only %d settings are wished for", len(facts.Wanted.Sysctls))
	}
	for _, s := range facts.Wanted.Sysctls {
		was, there := facts.Sysctls[s.Name]
		if !there {
			t.Errorf("%s was not read", s.Name)
		}
		facts.Sysctls[s.Name] = map[string]string{"0": "1", "1": "0", "2": "1"}[s.Values[0]]
		if strings.HasSuffix(s.Name, "rp_filter") || doctor.Examine(facts).ExitCode() == 1 {
			facts.Sysctls[s.Name] = was
			continue
		}
		t.Errorf("%s = %s is no problem", s.Name, facts.Sysctls[s.Name])
		facts.Sysctls[s.Name] = was
	}
}

// Without privileges what could not be seen is told, by exit code 2.
func TestDoctorUnprivileged_Root(t *testing.T) {
	p := newPatient(t)
	dir := filepath.Dir(p.file)
	for ; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(p.file, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := p.Run("", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "portolan", "doctor", "-c", p.file)
	if err == nil || !strings.Contains(err.Error(), "exit status 2") || !strings.Contains(err.Error(), "not seen: nftables") || !strings.Contains(err.Error(), "it needs root") {
		t.Errorf("%s %v", out, err)
	}
}
