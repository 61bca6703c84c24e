package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/portolan-lb/portolan/deploy/peers"
)

const (
	overloadTimes   = 3 // what can be answered
	overloadSeconds = 10
	overloadFlight  = 60_000 // queries that dnsperf waits for at once; it gives each up after overloadWait
	overloadWait    = "0.5"
)

// overload loads Portolan with three times of what it can answer, and holds
// what it tells of that against what the client sees.
func overload(ctx context.Context, o *options) error {
	if _, err := exec.LookPath("dnsperf"); err != nil {
		fmt.Println("skipped: dnsperf is not installed (Debian: apt install dnsperf)")
		return nil
	}
	return peers.InTemp("portolan-bench-", func(dir string) error {
		addr, err := peers.FreePort()
		if err != nil {
			return err
		}
		s := &server{Server: peers.Server{Name: "portolan", Addr: addr}}
		files := large(addr, 30)
		// A probe that is dropped too would change the answers meanwhile.
		files["portolan.yaml"] = strings.ReplaceAll(files["portolan.yaml"], ", probes: [alive]", "")
		if err := peers.WriteFiles(dir, files); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		if err := s.serve(ctx, o.program, dir); err != nil {
			cancel()
			return err
		}
		defer func() { cancel(); s.Wait() }()
		if err := s.Ready(ctx, s.has(30)); err != nil {
			return err
		}
		return s.overloaded(ctx, dir)
	})
}

// overloaded measures what the server can do, exceeds it, and prints both.
func (s *server) overloaded(ctx context.Context, dir string) error {
	all, err := newWorld(largeNames, 1000).scenarios(dir)
	if err != nil {
		return err
	}
	file := all[3].file // the costliest: dnsperf can send three times as many
	fmt.Printf("%s, %d names, %d pools; server on one core, dnsperf on another; %d s each\n\n", all[3].name, largeNames, largePools, overloadSeconds)
	fmt.Print("| load | sent/s | answered/s | answered | lost, by the client | dropped, by the server | mean latency us | worst ms | memory before, most, after, MB |\n|---|---|---|---|---|---|---|---|---|\n")
	can, err := s.underLoad(ctx, dir, "what it can", load{file: file, seconds: overloadSeconds})
	if err != nil {
		return err
	}
	rate := int(overloadTimes * can.qps)
	l := load{file: file, seconds: overloadSeconds, rate: rate, flight: overloadFlight, wait: overloadWait}
	over, err := s.underLoad(ctx, dir, fmt.Sprintf("%d times that", overloadTimes), l)
	if err != nil {
		return err
	}
	if real := float64(over.sent) / over.seconds / can.qps; real < overloadTimes*0.9 {
		fmt.Printf("\ndnsperf could send only %.1f times as many as are answered\n", real)
	}
	if said := strings.Count(s.Said(), "overload"); said == 0 && over.lost > 0 {
		return errors.New("queries were lost, and the log does not say so")
	}
	_, err = s.underLoad(ctx, dir, "afterwards", load{file: file, seconds: overloadSeconds, rate: int(can.qps / 4)})
	return err
}

// underLoad loads the server once and prints a row.
func (s *server) underLoad(ctx context.Context, dir, name string, l load) (heard, error) {
	before, err := s.memory()
	if err != nil {
		return heard{}, err
	}
	dropped, err := droppedBy(ctx, dir)
	if err != nil {
		return heard{}, err
	}
	var h heard
	most := before
	loading, loaded := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() (err error) {
		defer loaded()
		h, err = l.send(ctx, s.Addr)
		return err
	})
	g.Go(func() error {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-loading.Done():
				return nil
			case <-tick.C:
			}
			now, err := s.memory()
			if err != nil {
				return err
			}
			most = max(most, now)
		}
	})
	if err := g.Wait(); err != nil {
		return h, err
	}
	after, err := s.memory()
	if err != nil {
		return h, err
	}
	now, err := droppedBy(ctx, dir)
	fmt.Printf("| %s | %.0f | %.0f | %.1f %% | %d | %d | %.0f | %.1f | %d, %d, %d |\n", name, float64(h.sent)/h.seconds, h.qps,
		100*float64(h.completed)/float64(h.sent), h.lost, now-dropped, float64(h.mean.Nanoseconds())/1000, float64(h.worst.Microseconds())/1000,
		before>>20, most>>20, after>>20)
	return h, err
}

// memory gives the octets of the process that are in memory.
func (s *server) memory() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.Pid()))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, fmt.Errorf("%s: statm says %q", s.Name, text)
	}
	pages, err := strconv.Atoi(fields[1])
	return pages * os.Getpagesize(), err
}

// droppedBy asks the server how many queries the kernel dropped for it.
func droppedBy(ctx context.Context, dir string) (int, error) {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, "api.sock"))
	}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://portolan/metrics", nil)
	if err != nil {
		return 0, err
	}
	reply, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer reply.Body.Close()
	return parseDropped(reply.Body)
}

// parseDropped finds the figure among the metrics.
func parseDropped(metrics io.Reader) (int, error) {
	for in := bufio.NewScanner(metrics); in.Scan(); {
		if value, ok := strings.CutPrefix(in.Text(), `portolan_dns_dropped_total{reason="overload"} `); ok {
			n, err := strconv.ParseFloat(value, 64)
			return int(n), err
		}
	}
	return 0, errors.New("the metrics do not say what was dropped by overload")
}
