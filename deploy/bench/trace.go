package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/portolan-lb/portolan/deploy/peers"
)

// What a nil trace costs cannot be seen by running the same program with and
// without a trace: the calls are in it either way. So the benchmark is built
// a second time, from sources without them (see untraced.go), and the two
// binaries take turns, in many short rounds, as what is looked for is small. One
// of them is entered twice, to show the noise.
var tracedFolders = []string{"dnsserver", "pick"}

// traceBenchmark is run in every round; its trace is nil.
const traceBenchmark = "^BenchmarkAnswer$/^traced=false$"

func compareTrace(ctx context.Context, o *options) error {
	return peers.InTemp("portolan-bench-", func(dir string) error {
		with, without := filepath.Join(dir, "with.test"), filepath.Join(dir, "without.test")
		overlay, calls, err := untracedOverlay(dir)
		if err != nil {
			return err
		}
		if err := buildTest(ctx, with, ""); err != nil {
			return err
		}
		if err := buildTest(ctx, without, overlay); err != nil {
			return err
		}
		got, err := alternate(ctx, []string{with, with, without}, 12*o.rounds)
		if err != nil {
			return err
		}
		fmt.Printf("one answer, parse to reply, %d rounds; the build without has %d places of trace code less\n", len(got[0]), calls)
		for i, name := range []string{"nil trace", "nil trace again", "no trace code"} {
			s := spreadOf(got[i])
			fmt.Printf("  %-16s %.0f ns (%.0f-%.0f)", name, s.median, s.low, s.high)
			if i > 0 {
				ratio := spreadOf(ratios(got[0], got[i]))
				fmt.Printf("   nil trace / it, round by round: %.3f (%.2f-%.2f), best / best %.3f", ratio.median, ratio.low, ratio.high, spreadOf(got[0]).low/s.low)
			}
			fmt.Println()
		}
		return nil
	})
}

// untracedOverlay writes the sources without trace code into a folder, and the
// file that makes go build read them in place of the true ones.
func untracedOverlay(dir string) (overlay string, removed int, err error) {
	replace := map[string]string{}
	for _, folder := range tracedFolders {
		names, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil || len(names) == 0 {
			return "", 0, fmt.Errorf("no sources in %s: run this from the root of the repository", folder)
		}
		for _, name := range names {
			text, n, err := untraced(name)
			if err != nil {
				return "", 0, err
			}
			if n == 0 {
				continue
			}
			removed += n
			full, err := filepath.Abs(name)
			if err != nil {
				return "", 0, err
			}
			replace[full] = filepath.Join(dir, folder+"-"+filepath.Base(name))
			if err := os.WriteFile(replace[full], text, 0o644); err != nil {
				return "", 0, err
			}
		}
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", 0, err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, removed, os.WriteFile(overlay, text, 0o644)
}

func buildTest(ctx context.Context, binary, overlay string) error {
	args := []string{"test", "-c", "-o", binary}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	out, err := exec.CommandContext(ctx, "go", append(args, "./dnsserver")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test -c: %w: %s", err, out)
	}
	return nil
}

// alternate runs the benchmark of each binary in turn and gives nanoseconds an
// answer, by binary.
func alternate(ctx context.Context, binaries []string, rounds int) ([][]float64, error) {
	got := make([][]float64, len(binaries))
	for round := range rounds {
		for k := range binaries {
			i := k
			if round%2 == 1 {
				i = len(binaries) - 1 - k
			}
			cmd := pinned(ctx, serverCore, binaries[i], "-test.run", "^$", "-test.bench", traceBenchmark, "-test.benchtime", "100ms")
			cmd.Dir = tracedFolders[0] // where tests expect to run
			out, err := cmd.CombinedOutput()
			if err != nil {
				return nil, fmt.Errorf("benchmark: %w: %s", err, out)
			}
			found := nanos.FindSubmatch(out)
			if found == nil {
				return nil, fmt.Errorf("benchmark: no result in: %s", out)
			}
			ns, err := strconv.ParseFloat(string(found[1]), 64)
			if err != nil {
				return nil, err
			}
			got[i] = append(got[i], ns)
		}
	}
	return got, nil
}

var nanos = regexp.MustCompile(`\s([0-9.]+) ns/op`)
