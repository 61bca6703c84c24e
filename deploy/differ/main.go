// Command differ asks Portolan and the other authoritative servers that are
// installed the same random questions about the same random zones, and sorts
// every difference between their replies into a class that says why it is
// there and by which RFC both may be. A difference of no class is printed
// whole and fails the run.
//
// It is run from the root of the repository, by make differ. It ends only the
// processes that it started, and removes its folders. Start reading at run.go,
// then classes.go. What it found is in docs/differences.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/portolan-lb/portolan/deploy/peers"
)

// options are the flags.
type options struct {
	program string // the built portolan
	seed    uint64
	queries int
	workers int
	show    int    // unexplained differences printed, of each server
	sample  string // a class of which some are printed
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := parseAndRun(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "differ: "+err.Error())
		os.Exit(1)
	}
}

func parseAndRun(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("differ", flag.ContinueOnError)
	flags.StringVar(&o.program, "portolan", "bin/portolan", "the built program")
	flags.Uint64Var(&o.seed, "seed", uint64(time.Now().Unix()), "of zones and queries; the same seed, the same run")
	flags.IntVar(&o.queries, "queries", 100_000, "queries to every server")
	flags.IntVar(&o.workers, "workers", 4, "queries under way at once")
	flags.IntVar(&o.show, "show", 10, "unexplained differences printed, of each server")
	flags.StringVar(&o.sample, "sample", "", "a class of which that many are printed too")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || o.queries < 1 || o.workers < 1 {
		return errors.New("usage: go run ./deploy/differ [flags]; -h lists them")
	}
	return peers.InTemp("portolan-differ-", func(dir string) error { return run(ctx, &o, dir) })
}
