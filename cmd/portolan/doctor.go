package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/daemon"
	"github.com/portolan-lb/portolan/doctor"
	"github.com/portolan-lb/portolan/kernel"
)

const doctorManual = `Tell what of this machine stands in the way of a gateway, and by which command
each of it is repaired: settings of the kernel, rules of routing and chains of
nftables of other programs (Docker, Tailscale, firewalld, mwan3, ufw), programs
that have the ports of DNS, the table of connections. Nothing is changed, and no
server need run.

The configuration says which interfaces and ports matter. Without one this
machine is looked at as a gateway: interfaces with a default route are links, the
others the inside.

Chains of nftables, what connection tracking has lost and who has a port are for
root alone to see; what was not seen is told.

Exit codes: 0 nothing stands in the way, though there may be hints; 1 there is a
problem, or the configuration cannot be served; 2 none was seen, but not all
could be looked at.`

func doctorCommand() *cobra.Command {
	var config string
	var output *choice
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Tell what of this machine stands in the way of a gateway, and what repairs it",
		Long:    doctorManual,
		Example: "  portolan doctor\n  portolan doctor -c portolan.yaml -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			built, err := toDiagnose(cmd, config)
			if err != nil {
				return err
			}
			_, serving := serves(cmd)
			facts, err := lookAt(built, serving)
			if err != nil {
				return fmt.Errorf("looking at Linux: %w", err)
			}
			report := doctor.Examine(facts)
			if output.word == "json" {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				err = report.WriteText(cmd.OutOrStdout())
			}
			if code := report.ExitCode(); err == nil && code != 0 {
				return exit(code)
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&config, "config", "c", envOr("PORTOLAN_CONFIG", defaultConfig), "the configuration [PORTOLAN_CONFIG]")
	output = outputFlag(cmd, "text", "json")
	return cmd
}

// toDiagnose makes what the configuration asks for; nil: there is none, and none
// was named.
func toDiagnose(cmd *cobra.Command, path string) (*daemon.Built, error) {
	named := cmd.Flags().Changed("config") || os.Getenv("PORTOLAN_CONFIG") != ""
	if _, err := os.Stat(path); !named && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	built, errs, err := build(path)
	if err != nil {
		return nil, err
	}
	if built == nil || errs.Failed() {
		_, _ = fmt.Fprint(cmd.ErrOrStderr(), errs.Render())
		return nil, exit(1)
	}
	return built, nil
}

// lookAt reads what matters to a configuration; nil: there is none.
func lookAt(built *daemon.Built, serving bool) (*doctor.Facts, error) {
	return doctor.Look(func(interfaces []kernel.Interface) doctor.Wanted {
		if built == nil {
			return doctor.Guessed(interfaces)
		}
		return doctor.WantedOf(built.Model, built.Sysctls(interfaces))
	}, serving)
}
