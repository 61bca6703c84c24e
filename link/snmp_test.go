package link

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/portolan-lb/portolan/config"
)

// An interface is found by any of its three names, ifName first; by one that two
// share it is not, and the error says what to write instead.
func TestSNMPFindsInterface(t *testing.T) {
	a := startAgent(t, nil)
	for i := range 50 { // more than one question's rows
		a.put(10*i+1, fmt.Sprintf("Gi0/%d", i), fmt.Sprintf("GigabitEthernet0/%d", i), "uplink "+strconv.Itoa(i/2))
	}
	a.put(900, "shared", "Gi0/7", "GigabitEthernet0/9") // names of others, in later columns
	a.put(901, "padded\x00", "", "")
	for name, want := range map[string]place{
		"padded":             {901, ifName},
		"Gi0/7":              {71, ifName},
		"Gi0/49":             {491, ifName},
		"GigabitEthernet0/9": {91, ifDescr},
		"shared":             {900, ifName},
	} {
		p, r := a.open(t, name)
		if got, err := p.find(t.Context(), r); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
	}
	for name, want := range map[string]string{
		"uplink 3": `router 127.0.0.1 has 2 interfaces that are called "uplink 3"; write the ifIndex instead, such as index: 61`,
		"Gi0/50":   `router 127.0.0.1 has no interface whose ifName, ifDescr or ifAlias is "Gi0/50", or does not show it to us`,
	} {
		p, r := a.open(t, name)
		if _, err := p.find(t.Context(), r); err == nil || err.Error() != want {
			t.Errorf("%s: %v; want %s", name, err, want)
		}
	}
}

// Version 3 with a proof and in cipher; a user with another key gets nothing.
func TestSNMPVersion3(t *testing.T) {
	user := &gosnmp.UsmSecurityParameters{UserName: "ann", AuthoritativeEngineID: "\x80\x00\x1f\x88\x80router", AuthoritativeEngineBoots: 1, AuthoritativeEngineTime: 1,
		AuthenticationProtocol: gosnmp.SHA256, AuthenticationPassphrase: "auth-pass", PrivacyProtocol: gosnmp.AES256C, PrivacyPassphrase: "priv-pass"}
	a := startAgent(t, user)
	a.put(7, "Gi0/1", "", "")
	p, r := a.open(t, "Gi0/1")
	where, err := p.find(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	p.where = where
	if got, err := p.ask(r); err != nil || got.in != 7<<40 {
		t.Errorf("%+v, %v", got, err)
	}
	p, _ = a.open(t, "Gi0/1")
	p.spec.AuthKey = "another-pass"
	r, closeIt, err := openSNMP(t.Context(), p.spec)
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt()
	p.where = where
	if got, err := p.ask(r); err == nil {
		t.Errorf("with a wrong key: %+v", got)
	}
}

// What a router may say wrongly leads to an error in one line, never to figures.
func TestSNMPHostileAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		set    func(a *agent)
		answer func(request, reply *gosnmp.SnmpPacket) [][]byte
		want   string // in the error; empty: there is none
	}{
		"good": {},
		"silent": {answer: func(_, _ *gosnmp.SnmpPacket) [][]byte { return nil },
			want: "router 127.0.0.1 does not answer (2 tries of 1s): not reachable, or it does not know our community or user"},
		"wrong request id": {answer: func(_, p *gosnmp.SnmpPacket) [][]byte { p.RequestID += 77; return [][]byte{packed(p)} }, want: "does not answer"},
		"request id 0":     {answer: func(_, p *gosnmp.SnmpPacket) [][]byte { p.RequestID = 0; return [][]byte{packed(p)} }, want: "no answer to our question"},
		"wrong, then right": {answer: func(_, p *gosnmp.SnmpPacket) [][]byte {
			wrong := *p
			wrong.RequestID += 77
			wrong.Variables = nil
			wrong.Error = gosnmp.GenErr
			return [][]byte{packed(&wrong), packed(p)}
		}},
		"truncated": {answer: func(_, p *gosnmp.SnmpPacket) [][]byte { b := packed(p); return [][]byte{b[:len(b)-9]} }, want: "router 127.0.0.1: "},
		"garbage":   {answer: func(_, _ *gosnmp.SnmpPacket) [][]byte { return [][]byte{[]byte(strings.Repeat("\x30\x84\xff", 100))} }, want: "router 127.0.0.1: "},
		"a request": {answer: func(q, _ *gosnmp.SnmpPacket) [][]byte { return [][]byte{packed(q)} }, want: "no answer to our question"},
		"refused": {answer: func(_, p *gosnmp.SnmpPacket) [][]byte {
			p.Error, p.ErrorIndex = gosnmp.AuthorizationError, 1
			return [][]byte{packed(p)}
		}, want: "refuses the question: AuthorizationError"},
		"answers another": {answer: func(_, p *gosnmp.SnmpPacket) [][]byte {
			for i := range p.Variables {
				p.Variables[i].Name += "1"
			}
			return [][]byte{packed(p)}
		}, want: errElsewhere.Error()},
		"32 bits only": {set: func(a *agent) {
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.vars, ifHCInOctets+"7")
			delete(a.vars, ifHCOutOctets+"7")
		}},
		"a counter of another type": {set: func(a *agent) { a.set(ifHCOutOctets+"7", gosnmp.Gauge32, uint32(5)) }, want: "has no counters for the interface with ifIndex 7"},
		"no uptime":                 {set: func(a *agent) { a.set(sysUpTime, gosnmp.Integer, 5) }, want: "does not say its sysUpTime"},
		"another name":              {set: func(a *agent) { a.set(ifName+"7", gosnmp.OctetString, []byte("Gi0/2")) }, want: errElsewhere.Error()},
		"gone":                      {set: func(a *agent) { a.drop(7) }, want: errElsewhere.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			a := startAgent(t, nil)
			a.put(7, "Gi0/1", "", "")
			p, r := a.open(t, "Gi0/1")
			p.where = place{7, ifName}
			a.says(c.answer)
			if c.set != nil {
				c.set(a)
			}
			got, err := p.ask(r)
			switch {
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v; want %s", err, c.want)
			case c.want != "" && (strings.ContainsAny(err.Error(), "\n\r") || strings.Contains(err.Error(), community) || len(err.Error()) > 300):
				t.Errorf("not a line for an operator: %q", err)
			case c.want != "":
			case err != nil:
				t.Error(err)
			case name == "32 bits only" && (got.bits != 32 || got.in != 7 || got.out != 14):
				t.Errorf("%+v", got)
			case name != "32 bits only" && (got.bits != 64 || got.in != 7<<40 || got.out != 7<<41 || got.speed != 1e9 || got.uptime != 1000):
				t.Errorf("%+v", got)
			}
		})
	}
}

// A router that tells more and more interfaces does not keep us: the search
// ends, and where indexes do not rise it ends at once.
func TestSNMPSearchEnds(t *testing.T) {
	a := startAgent(t, nil)
	next := 0
	p, r := a.open(t, "nobody")
	endless := func(step int) func(q, p *gosnmp.SnmpPacket) [][]byte {
		return func(_, p *gosnmp.SnmpPacket) [][]byte {
			p.Variables = nil
			for range 100 {
				next += step
				p.Variables = append(p.Variables, gosnmp.SnmpPDU{Name: ifName + strconv.Itoa(1+next), Type: gosnmp.OctetString, Value: []byte("x")})
			}
			return [][]byte{packed(p)}
		}
	}
	for step, most := range map[int]int{1: mostInterfaces/100 + 1, 0: 2} {
		a.says(endless(step))
		if found, err := p.search(t.Context(), r, ifName); err != nil || len(found) != 0 {
			t.Errorf("%v, %v", found, err)
		}
		if n := a.questions(); n > most {
			t.Errorf("step %d: %d questions, want at most %d", step, n, most)
		}
	}
}

// The source ends with its context although a question is out, and its socket
// with it.
func TestSNMPEndsWithContext(t *testing.T) {
	a := startAgent(t, nil)
	arrived := make(chan struct{}, 10)
	a.says(func(_, _ *gosnmp.SnmpPacket) [][]byte { arrived <- struct{}{}; return nil })
	spec := a.spec("Gi0/1")
	spec.Timeout = config.Duration(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	var source sync.WaitGroup
	source.Go(func() {
		snmpSource(&config.Link{Meter: config.Meter{SNMP: spec}})(ctx, func(Sample, error) { t.Error("gave something") })
	})
	<-arrived
	cancel()
	source.Wait()
}

// line is a router under fake time: its counters are what flowed until its last
// refresh.
type line struct {
	*lineNow
	mu sync.Mutex // of lineNow; never held while time passes
}

// newLine gives a line that stands so.
func newLine(now lineNow) *line { return &line{lineNow: &now} }

// lineNow is how a line stands.
type lineNow struct {
	refresh time.Duration // 0: always fresh
	delay   time.Duration // of an answer
	rate    float64       // octets a second, in; out is half of it
	begun   time.Time
	booted  time.Time
	index   int
	silent  bool
	lossy   int  // each so many questions one is not answered; 0: all are
	coarse  bool // its clock stands still
	discon  uint32
	asked   int
}

func (l *line) Get(oids []string) (*gosnmp.SnmpPacket, error) {
	l.mu.Lock()
	l.asked++
	delay := l.delay
	l.mu.Unlock()
	time.Sleep(delay / 2) // a bubble's
	defer time.Sleep(delay - delay/2)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent || l.lossy > 0 && l.asked%l.lossy == 0 {
		return nil, fmt.Errorf("request timeout (after 1 retries): %w", gosnmp.ErrMaxRetriesExceeded)
	}
	flowed := time.Since(l.begun)
	if l.refresh > 0 {
		flowed = flowed.Truncate(l.refresh)
	}
	in := l.rate * flowed.Seconds()
	uptime := uint32(time.Since(l.booted) / (10 * time.Millisecond))
	if l.coarse {
		uptime = 4711
	}
	i := strconv.Itoa(l.index)
	vars := map[string]gosnmp.SnmpPDU{
		sysUpTime:         {Type: gosnmp.TimeTicks, Value: uptime},
		ifHCInOctets + i:  {Type: gosnmp.Counter64, Value: uint64(in)},
		ifHCOutOctets + i: {Type: gosnmp.Counter64, Value: uint64(in / 2)},
		ifDisconTime + i:  {Type: gosnmp.TimeTicks, Value: l.discon},
		ifName + i:        {Type: gosnmp.OctetString, Value: []byte("wan")},
	}
	p := &gosnmp.SnmpPacket{PDUType: gosnmp.GetResponse, RequestID: 1}
	for _, name := range oids {
		v, ok := vars[name]
		if v.Name = name; !ok {
			v.Type = gosnmp.NoSuchInstance
		}
		p.Variables = append(p.Variables, v)
	}
	return p, nil
}

func (l *line) GetBulk(oids []string, _ uint8, _ uint32) (*gosnmp.SnmpPacket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.silent {
		return nil, gosnmp.ErrMaxRetriesExceeded
	}
	p := &gosnmp.SnmpPacket{PDUType: gosnmp.GetResponse, RequestID: 1}
	if oids[0] == strings.TrimSuffix(ifName, ".") {
		p.Variables = []gosnmp.SnmpPDU{{Name: ifName + strconv.Itoa(l.index), Type: gosnmp.OctetString, Value: []byte("wan")}}
	}
	return p, nil
}

type given struct {
	Sample
	err error
}

// watch polls a line for a while under fake time and gives what came of it.
func watch(t *testing.T, l *line, interval, length time.Duration, then func()) (all []given) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l.begun, l.booted = time.Now(), time.Now().Add(-time.Hour)
		spec := config.SNMP{Address: netip.MustParseAddr("192.0.2.1"), Interface: "wan", Interval: config.Duration(interval), Timeout: config.Duration(time.Second)}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		p := &poller{spec: spec, give: func(s Sample, err error) { all = append(all, given{s, err}) },
			open: func(context.Context) (router, func(), error) { return l, func() {}, nil }}
		running.Go(func() { p.run(ctx) })
		time.Sleep(length)
		synctest.Wait()
		if then != nil {
			l.mu.Lock()
			then()
			l.mu.Unlock()
			time.Sleep(length)
		}
		cancel()
		running.Wait()
	})
	return all
}

// A router may refresh its counters less often than it is asked, or a little out
// of step: a steady load still gives steady rates, never zero or double ones.
func TestSNMPCountersAge(t *testing.T) {
	for _, refresh := range []time.Duration{0, 900 * time.Millisecond, 3 * time.Second, 4900 * time.Millisecond, 5 * time.Second, 5100 * time.Millisecond, 10 * time.Second, 14 * time.Second} {
		for _, interval := range []time.Duration{time.Second, 5 * time.Second, time.Minute} {
			l := newLine(lineNow{refresh: refresh, delay: 20 * time.Millisecond, rate: 1e6, index: 3})
			all := watch(t, l, interval, 10*time.Minute, nil)
			most := 2 + int(10*time.Minute/max(interval, refresh))
			if len(all) < most/2-2 || len(all) > most {
				t.Errorf("refresh %s, interval %s: %d samples, want about %d", refresh, interval, len(all), most)
			}
			for i := 1; i < len(all); i++ {
				was, is := all[i-1], all[i]
				took := is.At.Sub(was.At)
				rate := float64(is.In-was.In) / took.Seconds()
				// A refresh is known to huntStep; of counters that are always fresh, the delay is all there is.
				tolerance := 0.02 + float64(huntStep)/float64(took)
				if refresh == 0 {
					tolerance = 0.03
				}
				if is.err != nil || math.Abs(rate/1e6-1) > tolerance || is.Series != was.Series || took > 3*was.Every {
					t.Fatalf("refresh %s, interval %s: sample %d of %d: rate %.0f after %s, %+v", refresh, interval, i, len(all), rate, took, is)
				}
			}
			if most := 10*60*2 + 10; l.asked > most {
				t.Errorf("refresh %s, interval %s: %d questions", refresh, interval, l.asked)
			}
		}
	}
}

// The delay of answers is no rate: the router's own clock tells when it read its
// counters. One that stands still does no harm.
func TestSNMPAnswersAreLate(t *testing.T) {
	for _, coarse := range []bool{false, true} {
		l := newLine(lineNow{rate: 1e6, index: 3, delay: 100 * time.Millisecond, coarse: coarse})
		all := watch(t, l, time.Second, time.Minute, func() { l.delay = 400 * time.Millisecond })
		for i := 1; i < len(all); i++ {
			took := all[i].At.Sub(all[i-1].At)
			rate := float64(all[i].In-all[i-1].In) / took.Seconds()
			tolerance := 0.02
			if coarse {
				tolerance = 0.3
			}
			if all[i].err != nil || math.Abs(rate/1e6-1) > tolerance {
				t.Errorf("coarse %v: sample %d: rate %.0f after %s: %+v", coarse, i, rate, took, all[i])
			}
		}
	}
}

// After a question that was not answered, the time of the last refresh is not
// known either.
func TestSNMPCountersAgeWithLoss(t *testing.T) {
	l := newLine(lineNow{refresh: 3 * time.Second, rate: 1e6, index: 3, lossy: 10})
	var last Sample
	n := 0
	for _, g := range watch(t, l, 5*time.Second, 10*time.Minute, nil) {
		if g.err != nil {
			continue
		}
		took := g.At.Sub(last.At)
		if rate := float64(g.In-last.In) / took.Seconds(); last.Series != 0 && math.Abs(rate/1e6-1) > 0.02+float64(huntStep)/float64(took) {
			t.Errorf("rate %.0f after %s: %+v", rate, took, g)
		}
		last, n = g.Sample, n+1
	}
	if n < 50 {
		t.Errorf("%d samples", n)
	}
}

// Nothing flows: that is believed after a while, and then told at each interval.
func TestSNMPIdleLine(t *testing.T) {
	l := newLine(lineNow{index: 3})
	all := watch(t, l, 5*time.Second, time.Minute, nil)
	if len(all) < 9 || slices.ContainsFunc(all, func(g given) bool { return g.err != nil || g.In != 0 }) {
		t.Errorf("%d: %+v", len(all), all)
	}
}

// T28: after a restart of the router, counters that were set back, a new place of
// the interface or silence, samples are of another series or too late to be
// compared.
func TestSNMPGaps_T28(t *testing.T) {
	for name, change := range map[string]func(l *line){
		"restart":                func(l *line) { l.booted, l.begun = time.Now(), time.Now() },
		"restart of agent alone": func(l *line) { l.booted = time.Now() },
		"counters set back":      func(l *line) { l.discon, l.begun = 360000, time.Now() },
		"renumbered":             func(l *line) { l.index = 12 },
	} {
		l := newLine(lineNow{rate: 1e6, index: 3})
		var changed time.Time
		all := watch(t, l, time.Second, time.Minute, func() { change(l); changed = time.Now() })
		after := slices.IndexFunc(all, func(g given) bool { return g.err == nil && g.At.After(changed) })
		if after < 50 || all[after].Series == all[0].Series || all[after].At.Sub(changed) > 3*time.Second {
			t.Errorf("%s: sample %d: %+v", name, after, all[after])
		}
		if last := all[len(all)-1]; last.Series != all[after].Series || last.err != nil {
			t.Errorf("%s: not one new series: %+v", name, last)
		}
	}
	l := newLine(lineNow{rate: 1e6, index: 3})
	all := watch(t, l, time.Second, time.Minute, func() { l.silent = true })
	if last := all[len(all)-1]; last.err == nil || !strings.Contains(last.err.Error(), "does not answer") {
		t.Errorf("silence: %+v", last)
	}
}

// sysUpTime wraps after 497 days: no restart.
func TestSNMPUptimeWraps(t *testing.T) {
	at := time.Now()
	was := answer{uptime: math.MaxUint32 - 100, sent: at, received: at}
	is := answer{uptime: 399, sent: at.Add(5 * time.Second), received: at.Add(5 * time.Second)}
	if restarted(was, is) || uptimeBetween(was, is) != 5*time.Second {
		t.Errorf("restarted %v, between %s", restarted(was, is), uptimeBetween(was, is))
	}
	was.uptime -= 360000
	if !restarted(was, is) {
		t.Error("a restart is taken for a wrap")
	}
}

// After several failures in a row the socket is opened anew, as version 3 may
// need it.
func TestSNMPReopens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		l := newLine(lineNow{silent: true, index: 3})
		p := &poller{spec: config.SNMP{Index: 3, Interval: config.Duration(time.Second)}, give: func(Sample, error) {},
			open: func(context.Context) (router, func(), error) {
				if opened++; opened == 1 {
					return nil, nil, errors.New("no route")
				}
				return l, func() {}, nil
			}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		p.run(ctx)
		if opened < 3 || opened > 5 {
			t.Errorf("opened %d times", opened)
		}
	})
}

// Whatever a packet holds, reading it neither panics nor gives figures that it
// does not have.
func FuzzSNMPAnswer(f *testing.F) {
	whole := &gosnmp.SnmpPacket{Version: gosnmp.Version2c, Community: community, PDUType: gosnmp.GetResponse, RequestID: 9, Variables: []gosnmp.SnmpPDU{
		{Name: sysUpTime, Type: gosnmp.TimeTicks, Value: uint32(5)},
		{Name: ifHCInOctets + "3", Type: gosnmp.Counter64, Value: uint64(1)<<63 + 1},
		{Name: ifHCOutOctets + "3", Type: gosnmp.Counter64, Value: uint64(7)},
		{Name: ifHighSpeed + "3", Type: gosnmp.Gauge32, Value: uint32(1000)},
		{Name: ifName + "3", Type: gosnmp.OctetString, Value: []byte("wan")},
	}}
	f.Add(packed(whole))
	whole.Variables[1] = gosnmp.SnmpPDU{Name: ifInOctets + "3", Type: gosnmp.Counter32, Value: uint32(6)}
	whole.Variables[2] = gosnmp.SnmpPDU{Name: ifOutOctets + "3", Type: gosnmp.Counter32, Value: uint32(7)}
	f.Add(packed(whole))
	f.Fuzz(func(t *testing.T, packet []byte) {
		p := decoded(packet)
		if p == nil {
			return
		}
		vars := values(p)
		if a, err := answerOf(vars, "3"); err == nil && (a.bits == 32 && (a.in > math.MaxUint32 || a.out > math.MaxUint32) || a.bits != 32 && a.bits != 64) {
			t.Errorf("%+v", a)
		}
		for name := range vars {
			if i, ok := indexIn(ifName, name); ok && (i <= 0 || i > math.MaxInt32 || ifName+strconv.Itoa(i) != name) {
				t.Errorf("%s is index %d", name, i)
			}
		}
	})
}

// decoded is a packet as the library reads it, which recovers from its own panics.
func decoded(packet []byte) (p *gosnmp.SnmpPacket) {
	defer func() {
		if recover() != nil {
			p = nil
		}
	}()
	p, err := (&gosnmp.GoSNMP{Version: gosnmp.Version2c}).SnmpDecodePacket(packet)
	if err != nil {
		return nil
	}
	return p
}
