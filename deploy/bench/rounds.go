package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// sample is what one server did in one round.
type sample struct {
	qps     float64
	cpu     float64 // microseconds of CPU a query, in the server
	busy    float64 // share of the server's core that it used
	latency time.Duration
	lost    int
}

// measure loads a server once. Answers of another kind than asked for would
// make the figures mean something else, and are an error.
func measure(ctx context.Context, s *server, sc scenario, seconds int) (sample, error) {
	before, err := s.cpu()
	if err != nil {
		return sample{}, err
	}
	h, err := load{file: sc.file, seconds: seconds}.send(ctx, s.Addr)
	if err != nil {
		return sample{}, err
	}
	after, err := s.cpu()
	if err != nil {
		return sample{}, err
	}
	if !h.only(sc.rcode) {
		return sample{}, fmt.Errorf("%s, %s: want only %s, got %s of %d", s.Name, sc.name, sc.rcode, h.rcodes, h.completed)
	}
	used := (after - before).Seconds()
	return sample{qps: h.qps, cpu: used * 1e6 / float64(h.completed), busy: used / h.seconds, latency: h.mean, lost: h.lost}, nil
}

// rounds measures all servers again and again, A B C, then C B A, so that what
// changes on the machine meanwhile meets them alike. It gives the samples by
// server, in the order of the rounds.
func rounds(ctx context.Context, servers []*server, sc scenario, o *options) ([][]sample, error) {
	got := make([][]sample, len(servers))
	for round := range o.rounds {
		for k := range servers {
			i := k
			if round%2 == 1 {
				i = len(servers) - 1 - k
			}
			s, err := measure(ctx, servers[i], sc, o.seconds)
			if err != nil {
				return nil, err
			}
			got[i] = append(got[i], s)
		}
	}
	return got, nil
}

// spread is the median and the range of some figures.
type spread struct{ median, low, high float64 }

func spreadOf(figures []float64) spread {
	sorted := slices.Sorted(slices.Values(figures))
	n := len(sorted)
	if n == 0 {
		return spread{}
	}
	return spread{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}
}

// over gives one figure of each sample.
func over(samples []sample, figure func(sample) float64) []float64 {
	list := make([]float64, len(samples))
	for i, s := range samples {
		list[i] = figure(s)
	}
	return list
}

// ratios divides figures round by round: noise that lasts longer than a round
// falls on both sides.
func ratios(a, b []float64) []float64 {
	list := make([]float64, min(len(a), len(b)))
	for i := range list {
		list[i] = a[i] / b[i]
	}
	return list
}

func (s spread) ratio() string {
	return fmt.Sprintf("%.2f (%.2f-%.2f)", s.median, s.low, s.high)
}

func ofCPU(s sample) float64  { return s.cpu }
func ofQPS(s sample) float64  { return s.qps }
func ofBusy(s sample) float64 { return s.busy }
func ofMean(s sample) float64 { return float64(s.latency.Microseconds()) }
