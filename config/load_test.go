package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata")

// on gives a source whose configuration is text, with the files it may name.
func on(text string, files ...string) Source {
	m := fstest.MapFS{"c.yaml": {Data: []byte(text)}}
	for _, f := range files {
		m[f] = &fstest.MapFile{}
	}
	return Source{FS: m, Dir: ".", Name: "c.yaml"}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (run with -update and read the change)\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

// good loads a file that nothing is wrong with, and compares the JSON of its
// model, which is also what the API hands out, with a golden one.
func good(t *testing.T, name string) *Model {
	t.Helper()
	m, errs := Load(Source{FS: os.DirFS("testdata"), Dir: "good", Name: name + ".yaml"})
	if len(errs) > 0 {
		t.Fatal(errs.Render())
	}
	got, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/good/"+name+".json", string(got)+"\n")

	var back Model
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatalf("the model's JSON cannot be read back: %v", err)
	}
	again, err := json.MarshalIndent(&back, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, again) {
		t.Errorf("the model's JSON says something else when read back:\n%s", again)
	}
	return m
}

// The gateway's words, each of them once at least.
func TestGood_Gateway(t *testing.T) {
	m := good(t, "gateway")
	if got, want := strings.Join(m.Files(), " "), "gateway.yaml telecom.txt ca.pem blocked.txt"; got != want {
		t.Errorf("Files() = %s, want %s", got, want)
	}
}

// The words of server load balancing, each of them once at least.
func TestGood_Farms(t *testing.T) { good(t, "farms") }

// The sample of DESIGN 4, as far as it is built.
func TestGood(t *testing.T) {
	m := good(t, "portolan")
	if got, want := strings.Join(m.Files(), " "), "portolan.yaml example.com.zone telecom.txt ca.pem"; got != want {
		t.Errorf("Files() = %s, want %s", got, want)
	}
	if text, err := m.Source().ReadFile(m.Zones[0].File); err != nil || len(text) == 0 {
		t.Errorf("the source does not find the zone file: %v", err)
	}
}

// Every bad file has one fault (or one kind of it) and the exact text that an
// operator reads.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d bad files, want at least 30 (%v)", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			m, errs := Load(Source{FS: os.DirFS("testdata"), Dir: "bad", Name: name + ".yaml"})
			if len(errs) == 0 {
				t.Fatal("nothing was complained about")
			}
			if errs.Failed() != (m == nil) {
				t.Errorf("model %v with errors:\n%s", m, errs.Render())
			}
			golden(t, "testdata/bad/"+name+".txt", errs.Render())
		})
	}
}

func TestLoad_AllErrorsInOneRun(t *testing.T) {
	_, errs := Load(on(`version: 1
dns: {udpSize: 100, ecs: maybe}
pools:
  - name: web
    preferred: topolgy
    wight: 3
    panic: 70
    members: [{address: 192.0.2.300}, {virtualServer: web}]
probes:
  - {name: p, kind: icmp, interval: 5, path: /}
`))
	var got []string
	for _, e := range errs {
		got = append(got, e.Error())
	}
	want := []string{
		`c.yaml:2:16: dns.udpSize: 100 is out of range 512 to 1232`,
		`c.yaml:2:26: dns.ecs: is "maybe"; true or false belongs here`,
		`c.yaml:5:16: pools[0].preferred: "topolgy" is not one of: round-robin, random, first, source-hash, topology, bandwidth, max-bandwidth, least-connections, weighted-least-connections, least-time, cost, proximity`,
		`c.yaml:6:5: pools[0].wight: unknown key "wight"; known here: name, preferred, alternate, fallback, min, max, spill, answers, busyProtection, onDecline, onDown, panic, quorum, probes, criteria, members`,
		`c.yaml:7:12: pools[0].panic: "70" has no unit; write 70%`,
		`c.yaml:8:25: pools[0].members[0].address: "192.0.2.300" is not an IPv4 or IPv6 address`,
		`c.yaml:8:55: pools[0].members[1].virtualServer: there is no virtual server "web"; none is defined`,
		`c.yaml:10:37: probes[0].interval: "5" has no unit; write 5s, or use ms, m, h`,
		`c.yaml:10:46: probes[0].path: belongs to probes of kind http, https, not to icmp`,
	}
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got:\n%s\nwant:\n%s", g, w)
	}
}

func TestLoad_Folder(t *testing.T) {
	src := Source{Dir: "etc", Name: "conf.d", Shown: "/etc", FS: fstest.MapFS{
		"etc/conf.d/10-base.yaml":   {Data: []byte("version: 1\nnode: {name: gw1}\npools: [{name: a, members: [{address: 192.0.2.1}]}]\n")},
		"etc/conf.d/20-more.yml":    {Data: []byte("version: 1\npools: [{name: b, members: [{address: 192.0.2.2}]}]\n")},
		"etc/conf.d/readme.txt":     {Data: []byte("not: ours")},
		"etc/conf.d/old/x.yaml":     {Data: []byte("not: ours")},
		"etc/conf.d/.#10-base.yaml": {Data: []byte("an editor's lock")},
	}}
	m, errs := Load(src)
	if errs != nil {
		t.Fatal(errs.Render())
	}
	if len(m.Pools) != 2 || m.Pools[0].Name != "a" || m.Pools[1].Name != "b" {
		t.Errorf("pools %v are not a, b", m.Pools)
	}
	if got := m.Pools[1].Pos.String(); got != "/etc/conf.d/20-more.yml:2:9" {
		t.Errorf("pool b stands at %s", got)
	}
	if got := strings.Join(m.Files(), " "); got != "conf.d/10-base.yaml conf.d/20-more.yml" {
		t.Errorf("Files() = %s", got)
	}

	src.FS.(fstest.MapFS)["etc/conf.d/30-bad.yaml"] = &fstest.MapFile{Data: []byte("node: {name: gw2}\npools: [{name: A, members: [{address: 192.0.2.1}]}]\n")}
	_, errs = Load(src)
	want := `/etc/conf.d/30-bad.yaml:1:1: node: is given already, at /etc/conf.d/10-base.yaml:2:7
/etc/conf.d/30-bad.yaml:2:16: pools[0].name: "a" is taken by the pool at /etc/conf.d/10-base.yaml:3:16`
	if errs.Error() != want {
		t.Errorf("got:\n%s\nwant:\n%s", errs.Error(), want)
	}
}

func TestLoad_FolderInAFolder(t *testing.T) {
	_, errs := Load(Source{Dir: ".", Name: "conf.d", FS: fstest.MapFS{
		"conf.d/a.yaml": {Data: []byte("version: 1\n")}, "conf.d/b.yaml/c.yaml": {Data: []byte("version: 1\n")}}})
	if want := "conf.d: b.yaml is a folder; the files of a configuration stand in one folder"; errs.Error() != want {
		t.Errorf("got %q, want %q", errs.Error(), want)
	}
}

func TestLoad_NotThere(t *testing.T) {
	for name, want := range map[string]string{
		"none.yaml": "none.yaml: cannot read it: file does not exist",
		"empty":     "empty: the folder holds no *.yaml or *.yml file",
	} {
		_, errs := Load(Source{FS: fstest.MapFS{"empty/x.txt": {}}, Dir: ".", Name: name})
		if errs.Error() != want {
			t.Errorf("got %q, want %q", errs.Error(), want)
		}
	}
}

// An editor's byte order mark and line ends change nothing, not even columns.
func TestLoad_EditorsMarks(t *testing.T) {
	plain := "version: 1\npools:\n  - name: a\n    members:\n      - {address: 192.0.2.1}\n      - address: oops\n"
	_, want := Load(on(plain))
	if len(want) != 1 {
		t.Fatal(want.Render())
	}
	for _, text := range []string{"\xef\xbb\xbf" + plain, strings.ReplaceAll(plain, "\n", "\r\n")} {
		if _, got := Load(on(text)); got.Render() != want.Render() {
			t.Errorf("%q:\n%s\nwant:\n%s", text[:12], got.Render(), want.Render())
		}
	}
	_, errs := Load(on("version: 1\npools:\n\t- name: a\n"))
	if len(errs) != 1 || errs[0].Hint != "indent with spaces, not tabs" {
		t.Errorf("a tab: %s", errs.Render())
	}
}

func TestLoad_ColumnsCountRunes(t *testing.T) {
	_, errs := Load(on("version: 1\nnode: {name: \u4e0a\u6d77, site: x}\n"))
	if want := "c.yaml:2:24: node.site: there is no site \"x\"; none is defined"; errs.Error() != want {
		t.Errorf("got %q, want %q", errs.Error(), want)
	}
}

// Whatever its size and shape, bad text is refused at once.
func TestGuard(t *testing.T) {
	deep := func(s string) string { return "version: 1\na: " + strings.Repeat(s, 100_000) }
	for name, text := range map[string]string{
		"brackets": deep("["), "braces": deep("{a: "), "lists": "version: 1\na:\n  " + strings.Repeat("- ", 100_000),
		"keys": "? " + strings.Repeat("? ", 100_000), "anchors": deep("&a "), "tags": deep("!!x "), "quotes": deep(`"`),
		"nulls":     "version: 1\nsites:\n" + strings.Repeat("-\n", 10_000),
		"wide":      "version: 1\nnode:\n" + strings.Repeat("  a: 1\n", 10_000),
		"too large": strings.Repeat("# 345678901234567890\n", 1+maxBytes/21),
	} {
		t.Run(name, func(t *testing.T) {
			var m *Model
			var errs Errors
			if took := best(t, func() { m, errs = Load(on(text)) }); took > 100*time.Millisecond {
				t.Errorf("took %s", took)
			}
			if m != nil || len(errs) != 1 {
				t.Errorf("got %v, want one error", errs)
			}
			if out := errs.Render(); len(out) > 1000 {
				t.Errorf("the message has %d bytes", len(out))
			}
		})
	}
}

func TestLoad_ManyErrorsAreBounded(t *testing.T) {
	_, errs := Load(on("version: 1\npools:\n" + strings.Repeat("  - {nam: 1}\n", 20_000)))
	if len(errs) != maxErrors+1 || !strings.HasPrefix(errs[maxErrors].Text, "and ") {
		t.Errorf("%d errors, the last: %v", len(errs), errs[len(errs)-1])
	}
}

func TestLoadBytes_JSON(t *testing.T) {
	m, errs := LoadBytes([]byte(`{"version": 1, "pools": [{"name": "a", "members": [{"address": "192.0.2.1"}]}]}`), on(""))
	if errs != nil || m.Pools[0].Members[0].Weight != 1 {
		t.Error(errs.Render())
	}
}

func TestLoadBytes_WithoutFiles(t *testing.T) {
	_, errs := LoadBytes([]byte("version: 1\nisps: [{name: a, prefixFile: a.txt}]\n"), Source{Name: "c.yaml"})
	if want := "c.yaml:2:30: isps[0].prefixFile: a.txt: there is no file system to read from"; errs.Error() != want {
		t.Errorf("got %q, want %q", errs.Error(), want)
	}
}

// Less than a /24 has a / in the name of its reverse zone (RFC 2317, 4).
func TestLoad_ClasslessReverseZone(t *testing.T) {
	m, errs := Load(on(`version: 1
zones:
  - {name: 0/25.2.0.192.in-addr.arpa, file: z, names: [{name: 128/26, pool: p}, {name: "7", pool: p}]}
pools: [{name: p, members: [{address: 192.0.2.1}]}]
probes: [{name: ptr, kind: dns, queryName: 7.0/25.2.0.192.in-addr.arpa, queryType: PTR}]
`, "z"))
	if errs != nil {
		t.Fatal(errs.Render())
	}
	z := m.Zones[0]
	if z.Name != "0/25.2.0.192.in-addr.arpa." || z.Names[0].FQDN != "128/26."+z.Name || m.Probes[0].QueryName != "7."+z.Name {
		t.Errorf("zone %s, name %s, query %s", z.Name, z.Names[0].FQDN, m.Probes[0].QueryName)
	}
	_, errs = Load(on("version: 1\npools: [{name: p, members: [{cname: www.example.com/x}]}]\n"))
	if want := `c.yaml:2:37: pools[0].members[0].cname: "www.example.com/x" has a /; a host name belongs here`; errs.Error() != want {
		t.Errorf("got %q, want %q", errs.Error(), want)
	}
}

func TestDefaults(t *testing.T) {
	m, errs := Load(on("version: 1\nprobes: [{name: a, kind: http}, {name: b, kind: icmp, interval: 1s}]\n"))
	if errs != nil {
		t.Fatal(errs.Render())
	}
	if l := m.DNS.Listeners; len(l) != 1 || l[0].Address.String() != "127.0.0.1:53" || len(l[0].Protocols) != 2 {
		t.Errorf("listeners %v", l)
	}
	if m.DNS.UDPSize != 1232 || m.DNS.ECS {
		t.Errorf("dns %+v", m.DNS)
	}
	if p := m.Probes[0]; p.Timeout != Duration(3*time.Second) || p.Method != "GET" || p.Path != "/" {
		t.Errorf("http probe %+v", p)
	}
	if p := m.Probes[1]; p.Timeout != Duration(500*time.Millisecond) || p.Size != 56 || p.Method != "" {
		t.Errorf("icmp probe %+v", p)
	}
}
