package config

import (
	"encoding"
	"testing"
	"time"
)

func TestUnits(t *testing.T) {
	for _, c := range []struct {
		into       encoding.TextUnmarshaler
		text, want string // want "": refused
	}{
		{new(Duration), "5s", "5s"},
		{new(Duration), "90m", "1h30m"},
		{new(Duration), "24h", "24h"},
		{new(Duration), "1500ms", "1.5s"},
		{new(Duration), "0s", "0s"},
		{new(Duration), "60s", "1m"},
		{new(Duration), "5", ""},
		{new(Duration), "-5s", ""},
		{new(Duration), "5 s", ""},
		{new(Duration), "", ""},
		{new(Percent), "0%", "0%"},
		{new(Percent), "100%", "100%"},
		{new(Percent), "101%", ""},
		{new(Percent), "50", ""},
		{new(Percent), "-1%", ""},
		{new(Percent), "%", ""},
		{new(Bandwidth), "100Mbps", "100Mbps"},
		{new(Bandwidth), "1000Mbps", "1Gbps"},
		{new(Bandwidth), "1.5Gbps", "1500Mbps"},
		{new(Bandwidth), "64kbps", "64kbps"},
		{new(Bandwidth), "0bps", "0bps"},
		{new(Bandwidth), "100", ""},
		{new(Bandwidth), "100MBps", ""}, // T21: bytes are never guessed
		{new(Bandwidth), "100KBps", ""},
		{new(Bandwidth), "NaNMbps", ""},
		{new(Bandwidth), "-1Mbps", ""},
		{new(Bandwidth), "1e300Gbps", ""},
		{new(Size), "4MiB", "4MiB"},
		{new(Size), "2048B", "2KiB"},
		{new(Size), "60000B", "60kB"},
		{new(Size), "64GiB", "64GiB"},
		{new(Size), "0B", "0B"},
		{new(Size), "3GB", "3GB"},
		{new(Size), "4096", ""},
		{new(Size), "4M", ""}, // bits, bytes, which thousand?
		{new(Size), "-1B", ""},
		{new(Size), "1.5MiB", ""},
		{new(Size), "9999999999GiB", ""},
		{new(Size), "", ""},
	} {
		err := c.into.UnmarshalText([]byte(c.text))
		if (err != nil) != (c.want == "") {
			t.Errorf("%T %q: error %v", c.into, c.text, err)
		}
		if err != nil {
			continue
		}
		got, err := c.into.(encoding.TextMarshaler).MarshalText()
		if err != nil || string(got) != c.want {
			t.Errorf("%T %q is written %s, want %s (%v)", c.into, c.text, got, c.want, err)
		}
	}
}

// Whatever a duration is, its text reads back as the same.
func TestDuration_RoundTrip(t *testing.T) {
	for _, d := range []time.Duration{0, 1, time.Millisecond, time.Second, 10 * time.Second, time.Minute,
		10 * time.Minute, time.Hour, 10 * time.Hour, time.Hour + time.Second, 24*time.Hour + time.Minute} {
		text, _ := Duration(d).MarshalText() // never fails
		var back Duration
		if err := back.UnmarshalText(text); err != nil || back != Duration(d) {
			t.Errorf("%s became %s (%v)", d, text, err)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"round-robin", "random", "first", "source-hash", "topology"}
	for word, want := range map[string]string{
		"topolgy": "topology", "toplogoy": "topology", "Topology": "topology", "raundom": "random", "frist": "first",
		"roundrobin": "round-robin", "source_hash": "source-hash",
		"x": "", "": "", "weighted": "", "proximity": "",
	} {
		if got := nearest(word, words); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestRender(t *testing.T) {
	_, errs := Load(on(`version: 1
pools:
  - name: web
    preferred: topolgy
    members: [{address: 192.0.2.1}]
`))
	want := `c.yaml:4:16: pools[0].preferred: "topolgy" is not one of: round-robin, random, first, source-hash, topology, bandwidth, max-bandwidth, least-connections, weighted-least-connections, least-time, cost, proximity
   3 |   - name: web
>  4 |     preferred: topolgy
                      ^ did you mean "topology"?
1 error in 1 file.
`
	if got := errs.Render(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := (Errors)(nil).Render(); got != "" {
		t.Errorf("no errors render as %q", got)
	}
}

func TestCanonical(t *testing.T) {
	for name, want := range map[string]string{
		"WWW.Example.com": "www.example.com.", "a.": "a.", ".": ".", "*.a": "*.a.", "_sip._tcp.a": "_sip._tcp.a.",
		"": "", "a..b": "", ".a": "", "a.*": "", "**.a": "", "a b": "", `a\.b`: "", "caf\u00e9": "",
	} {
		got, err := canonical(name)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("canonical(%q) = %q, %v", name, got, err)
		}
	}
}

// A pool may fall back to one that it is a member of, but not to itself.
func TestLadder_MayNameThePoolAround(t *testing.T) {
	_, errs := Load(on(`version: 1
pools:
  - {name: cn, onDown: [{pool: world}], members: [{address: 192.0.2.1}]}
  - {name: world, members: [{pool: cn}, {address: 192.0.2.2}]}
`))
	if errs != nil {
		t.Error(errs.Render())
	}
}
