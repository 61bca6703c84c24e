// Command lab is a small internet on one machine, with Portolan in its gateway:
// three ISPs, two sites with servers, four client networks, an office and the
// world that it goes to, in network namespaces with real cables between them. A person can look around in it and change
// things; scenes do so by themselves and tell what clients see.
//
//	go run ./deploy/lab               # runs until Ctrl-C; prints what there is and what to type
//	go run ./deploy/lab scene all     # plays every scene
//
// It needs root and the ip program; dig for the scenes. Whatever it makes has a
// name with its process id, lives in its own namespaces, and is removed at the
// end; what a lab that was killed left behind, clean removes. Flags come first:
// go run ./deploy/lab -h. docs/manual/lab.md says more.
//
// Start reading at plan.go, then lab.go and scene.go.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/portolan-lb/portolan/deploy/peers"
)

const usage = "usage: go run ./deploy/lab [flags] [scene NAME|all] | clean; -h lists the flags"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := parseAndRun(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab: "+err.Error())
		os.Exit(1)
	}
}

func parseAndRun(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	o.register(flags)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	return peers.InTemp("portolan-lab-", func(dir string) error {
		switch {
		case flags.NArg() == 0:
			return within(ctx, &o, dir, func(ctx context.Context, l *lab) error { return l.open(ctx, bufio.NewScanner(in), out) })
		case flags.NArg() == 2 && flags.Arg(0) == "scene":
			if _, err := chosen(flags.Arg(1)); err != nil {
				return err
			}
			return within(ctx, &o, dir, func(ctx context.Context, l *lab) error {
				return (&stage{l, out}).perform(ctx, flags.Arg(1))
			})
		case flags.NArg() == 1 && flags.Arg(0) == "clean":
			return clean(out)
		}
		return errors.New(usage)
	})
}
