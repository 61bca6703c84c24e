package config

import (
	"testing"
	"time"
)

// schedules loads one class and gives its times.
func schedules(t *testing.T, times string) []*Schedule {
	t.Helper()
	m, errs := Load(on(`version: 1
links: [{name: a, interface: eth1}]
linkGroups: [{name: g, members: [a]}]
outbound: {interfaces: [lan0], virtualServers: [{name: v, linkGroup: g}], classes: [{name: k, times: ` + times + `}]}
`))
	if errs != nil {
		t.Fatal(errs.Render())
	}
	return m.Outbound.Classes[0].Times
}

func TestSchedule(t *testing.T) {
	for _, c := range []struct {
		times string
		in    []string // RFC 3339
		out   []string
	}{
		{`[{days: [mon-fri], from: "08:00", to: "18:00", zone: UTC}]`,
			[]string{"2026-11-23T08:00:00Z", "2026-11-27T17:59:59Z"},
			[]string{"2026-11-23T07:59:59Z", "2026-11-23T18:00:00Z", "2026-11-22T12:00:00Z", "2026-11-28T12:00:00Z"}},
		{`[{days: [sat-mon], zone: UTC}]`, // goes round the week's end
			[]string{"2026-11-21T00:00:00Z", "2026-11-22T23:59:59Z", "2026-11-23T12:00:00Z"},
			[]string{"2026-11-24T00:00:00Z", "2026-11-20T23:59:59Z"}},
		{`[{days: [Friday], from: "22:00", to: "06:00", zone: UTC}]`, // past midnight: the night of the day that it names
			[]string{"2026-11-27T22:00:00Z", "2026-11-28T05:59:59Z"},
			[]string{"2026-11-27T05:00:00Z", "2026-11-28T06:00:00Z", "2026-11-28T22:00:00Z"}},
		{`[{from: "18:00", zone: UTC}]`, // to the end of the day
			[]string{"2026-11-27T18:00:00Z", "2026-11-27T23:59:59Z"}, []string{"2026-11-28T00:00:00Z"}},
		{`[{from: "08:00", to: "09:00", zone: Europe/Madrid}]`, // the clock on the wall, in winter and in summer
			[]string{"2026-01-15T07:00:00Z", "2026-07-15T06:00:00Z"}, []string{"2026-01-15T06:59:59Z", "2026-07-15T07:00:00Z"}},
		{`[{days: [thu], zone: Asia/Shanghai}]`, // the day is that of the zone
			[]string{"2026-11-25T16:00:00Z", "2026-11-26T15:59:59Z"}, []string{"2026-11-25T15:59:59Z", "2026-11-26T16:00:00Z"}},
	} {
		s := schedules(t, c.times)[0]
		for want, list := range map[bool][]string{true: c.in, false: c.out} {
			for _, at := range list {
				moment, err := time.Parse(time.RFC3339, at)
				if err != nil {
					t.Fatal(err)
				}
				if s.Holds(moment) != want {
					t.Errorf("%s at %s: %t", c.times, at, !want)
				}
			}
		}
	}
}

func TestTimeOfDay(t *testing.T) {
	for text, want := range map[string]TimeOfDay{"00:00": 0, "08:30": 510, "23:59": 1439, "24:00": 1440} {
		var got TimeOfDay
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want || got.String() != text {
			t.Errorf("%s is %v, %d: %v", text, got, got, err)
		}
	}
	for _, text := range []string{"", "8:00", "24:01", "12:60", "1200", "12.30", "-1:30", "12:3x", "99:99"} {
		var got TimeOfDay
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
