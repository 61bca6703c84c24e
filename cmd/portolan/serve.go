package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/daemon"
)

func serveCommand() *cobra.Command {
	var o daemon.Options
	var log logFlags
	var listen []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server in the foreground until SIGINT or SIGTERM. SIGHUP reads the
configuration again; one that is bad changes nothing. If the configuration is
bad at start, the last good one that was kept is served, loudly.

With --zones a folder of master files is served without any configuration, on
the addresses of --listen: NAME.zone, NAME.db, NAME.txt, db.NAME or NAME is zone
NAME, with @ for a / of the name; root.zone is the root. Hidden files, editors'
leftovers and subfolders are no zones. A zone whose file is bad is answered
SERVFAIL and the others are served. SIGHUP and reload read what has changed.
There is a state folder only if one is named, and no API if its default socket
cannot be opened.

The state folder keeps what a restart needs: the last good configurations, the
operators' holds and the health of what is probed. Ports under 1024 need the
capability CAP_NET_BIND_SERVICE, icmp and tcp-half-open probes CAP_NET_RAW, a
gateway (outbound, dnsProxy) CAP_NET_ADMIN and CAP_NET_RAW; no other privilege
is used.

Exit codes: 0 it was told to end, 1 it could not start or serve on, 2 it was
called in a wrong way.`,
		Example: `  portolan serve
  portolan serve -c portolan.yaml --state ./state --socket ./portolan.sock
  portolan serve --zones ./zones --listen 192.0.2.53:53 --listen '[2001:db8::53]:53'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Log, err = log.open(cmd.ErrOrStderr()); err != nil {
				return err
			}
			if o.Socket, err = cmd.Flags().GetString("socket"); err != nil {
				return err
			}
			if err := withoutConfig(cmd, &o, listen); err != nil {
				return err
			}
			ctx, stop := untilTold(cmd)
			defer stop()
			return served(daemon.New(o).Run(ctx))
		},
	}
	cmd.Flags().StringVarP(&o.Config, "config", "c", envOr("PORTOLAN_CONFIG", defaultConfig), "configuration, a file or a folder [PORTOLAN_CONFIG]")
	cmd.Flags().StringVar(&o.State, "state", envOr("PORTOLAN_STATE", defaultState), "folder for what a restart needs; empty keeps nothing [PORTOLAN_STATE]")
	cmd.Flags().StringVar(&o.Zones, "zones", "", "serve this folder of zone files, without a configuration")
	cmd.Flags().StringArrayVar(&listen, "listen", nil, "with --zones: serve on this ADDRESS:PORT; may be given more than once (default 127.0.0.1:53)")
	log = addLogFlags(cmd)
	return cmd
}

// withoutConfig settles what --zones means for the other flags.
func withoutConfig(cmd *cobra.Command, o *daemon.Options, listen []string) error {
	given := func(flag string) bool { return cmd.Flags().Changed(flag) }
	switch {
	case !given("zones") && given("listen"):
		return see(cmd, errors.New("--listen goes with --zones only; a configuration has dns.listeners"))
	case !given("zones"):
		return nil
	case given("config"):
		return see(cmd, errors.New("--zones serves a folder without a configuration, --config a configuration: give one of them"))
	case o.Zones == "":
		return see(cmd, errors.New("--zones is empty: it takes a folder"))
	}
	o.Config = ""
	if !given("state") {
		o.State = os.Getenv("PORTOLAN_STATE")
	}
	o.TrySocket = !given("socket") && os.Getenv("PORTOLAN_SOCKET") == ""
	for _, text := range listen {
		address, err := netip.ParseAddrPort(text)
		if err != nil {
			return see(cmd, fmt.Errorf("--listen %q is not ADDRESS:PORT, such as 192.0.2.53:53 or [2001:db8::53]:53", text))
		}
		o.Listen = append(o.Listen, address)
	}
	return nil
}

// served marks an error as one of serving, which is exit code 1.
func served(err error) error {
	if err == nil {
		return nil
	}
	return notServed{fmt.Errorf("cannot serve: %w", err)}
}
