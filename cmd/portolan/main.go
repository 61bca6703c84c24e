// Command portolan is the one program: the server, and the commands that check
// a configuration, ask a running server, and change what it does.
//
// One file a noun or verb. A command is thin: serve and the offline commands
// talk to daemon, all others to the API through api/client.
//
// Exit codes: 0 yes or unchanged, 1 no, differs or unhealthy, 2 could not
// tell. An error is one line on stderr; those of a
// configuration come with their source line.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// untilTold gives a context that ends with SIGINT or SIGTERM, for commands that
// have something to end in order. A signal ends all others at once, as usual.
func untilTold(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
}

// run carries out one command and gives its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var said exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &said):
		return int(said) // what there is to say was said
	}
	_, _ = fmt.Fprintln(stderr, "portolan: "+oneLine(err.Error()))
	var known *api.Error
	var stopped notServed
	switch {
	case errors.As(err, &known):
		printDetails(stderr, known.Details)
		return known.ExitCode()
	case errors.As(err, &stopped):
		return 1
	}
	return 2
}

// Where things are, unless a flag or the environment says otherwise.
const (
	defaultConfig = "/etc/portolan/portolan.yaml"
	defaultState  = "/var/lib/portolan"
	defaultSocket = "/run/portolan/portolan.sock"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "portolan",
		Short: "Smart DNS and global server load balancing",
		Long: `Portolan answers DNS with the site, link and server that suits each client, and
tells why.

Exit codes: 0 yes or unchanged, 1 no, differs or unhealthy, 2 could not tell.
An error is one line on stderr; what is wrong with a configuration comes with its
source line and a caret below.

Environment: PORTOLAN_SOCKET, PORTOLAN_CONFIG and PORTOLAN_STATE stand in for
--socket, --config and --state.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().String("socket", envOr("PORTOLAN_SOCKET", defaultSocket), "the server's API socket [PORTOLAN_SOCKET]")
	root.AddCommand(serveCommand(), checkCommand(), explainCommand(), applyCommand(), reloadCommand(), getCommand(), watchCommand(),
		describeCommand(), zoneCommand(), holdCommand(), releaseCommand(), reportCommand(), proximityCommand(), stickyCommand(), kernelCommand(), doctorCommand(), convertCommand(), demoCommand(), versionCommand())
	sayHowToUse(root)
	return root
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// dial gives a client for the server that a command asks.
func dial(cmd *cobra.Command) (*client.Client, error) {
	socket, err := cmd.Flags().GetString("socket")
	return client.New(socket), err
}
