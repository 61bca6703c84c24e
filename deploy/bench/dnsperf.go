package main

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// load is what dnsperf is told to do.
type load struct {
	file    string // of queries
	seconds int
	rate    int // queries a second; 0: as many as are answered (closed loop)

	flight int    // queries that are waited for at once (default 128)
	wait   string // seconds until one is given up (default 2)
}

// heard is what dnsperf reports.
type heard struct {
	sent, completed, lost int
	rcodes                string // "NOERROR 1234 (100.00%)"
	seconds, qps          float64
	mean, worst           time.Duration // latency
}

// send loads a server: 16 sockets, by default 128 queries in flight, half of what
// the default receive buffer of a socket holds. A closed loop keeps the server as
// busy as dnsperf can.
func (l load) send(ctx context.Context, server netip.AddrPort) (heard, error) {
	args := []string{"-s", server.Addr().String(), "-p", strconv.Itoa(int(server.Port())), "-d", l.file, "-B",
		"-l", strconv.Itoa(l.seconds), "-c", "16", "-T", "1", "-q", strconv.Itoa(cmp.Or(l.flight, 128)), "-t", cmp.Or(l.wait, "2")}
	if l.rate > 0 {
		args = append(args, "-Q", strconv.Itoa(l.rate))
	}
	out, err := pinned(ctx, loadCore, "dnsperf", args...).CombinedOutput()
	if err != nil {
		return heard{}, fmt.Errorf("dnsperf: %w: %s", err, out)
	}
	return parseHeard(string(out))
}

// parseHeard reads dnsperf's report.
func parseHeard(text string) (h heard, err error) {
	field := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			field[name] = strings.TrimSpace(value)
		}
	}
	number := func(name string) float64 {
		first, _, _ := strings.Cut(field[name], " ")
		n, e := strconv.ParseFloat(first, 64)
		if e != nil && err == nil {
			err = fmt.Errorf("dnsperf reports no %q:\n%s", name, text)
		}
		return n
	}
	h.sent, h.completed, h.lost = int(number("Queries sent")), int(number("Queries completed")), int(number("Queries lost"))
	h.seconds, h.qps = number("Run time (s)"), number("Queries per second")
	h.mean = time.Duration(number("Average Latency (s)") * 1e9)
	h.rcodes = field["Response codes"]
	if _, rest, ok := strings.Cut(field["Average Latency (s)"], "max "); ok {
		field["worst"] = strings.TrimSuffix(rest, ")")
	}
	h.worst = time.Duration(number("worst") * 1e9)
	return h, err
}

// only says whether every answer had one rcode.
func (h heard) only(rcode string) bool {
	return h.completed > 0 && h.rcodes == fmt.Sprintf("%s %d (100.00%%)", rcode, h.completed)
}
