// Command bench measures Portolan from outside, as a client would: it starts
// the built program, and other authoritative servers beside it, on loopback
// ports, and loads them with dnsperf. The Go benchmarks of the packages
// measure the parts; this measures the whole.
//
// It is run from the root of the repository, by make bench. It ends only the
// processes that it started, and removes its folders. Start reading at
// compare.go. What it measured is in docs/performance.md.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/portolan-lb/portolan/deploy/peers"
)

// Where the load comes from and where the servers run. Two cores at least keep
// them apart; on one they share it, and only ratios mean something.
const (
	loadCore   = "0"
	serverCore = "1"
)

// options are the flags of all commands; each command reads its own.
type options struct {
	program string // the built portolan
	again   string // the one that is entered a second time
	rounds  int
	seconds int // of load in a round
	names   int // static names, and as many dynamic ones
	nets    int // prefixes in the map of clients
	clients int // asked for the check of agreement
}

var commands = map[string]func(context.Context, *options) error{
	"check":    checkLarge,
	"trace":    compareTrace,
	"compare":  compareServers,
	"reload":   reloadUnderLoad,
	"overload": overload,
}

const usage = `usage: go run ./deploy/bench COMMAND [flags]

  check    how long portolan check takes on 10,000 names and 1,000 pools
  trace    what a nil trace costs: BenchmarkAnswer with and without its code
  compare  portolan, gdnsd and knot side by side under dnsperf
  reload   a reload a second under load: lost answers, latency
  overload three times of what can be answered: memory, share answered, drops told

flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.program, "portolan", "bin/portolan", "the built program")
	flags.StringVar(&o.again, "again", "", "a second build to enter beside it (default: the same, to show the noise)")
	flags.IntVar(&o.rounds, "rounds", 7, "rounds, forwards and backwards in turn")
	flags.IntVar(&o.seconds, "seconds", 1, "seconds of load in a round")
	flags.IntVar(&o.names, "names", 1000, "static names, and as many dynamic names and pools")
	flags.IntVar(&o.nets, "nets", 50_000, "prefixes in the map of clients")
	flags.IntVar(&o.clients, "clients", 2000, "client networks put to every server before the timing")
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage); flags.PrintDefaults() }
	if len(args) == 0 || commands[args[0]] == nil {
		flags.Usage()
		return errors.New("name one command")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	o.again = cmp.Or(o.again, o.program)
	return commands[args[0]](ctx, &o)
}

// pinned makes a command that runs on one core where there are two, and dies
// with us.
func pinned(ctx context.Context, core, program string, args ...string) *exec.Cmd {
	if runtime.NumCPU() > 1 {
		args = append([]string{"-c", core, program}, args...)
		program = "taskset"
	}
	return peers.Command(ctx, program, args...)
}
