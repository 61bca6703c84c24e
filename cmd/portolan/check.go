package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/daemon"
)

func checkCommand() *cobra.Command {
	var strict, quiet bool
	var zones string
	cmd := &cobra.Command{
		Use:   "check [FILE|FOLDER]",
		Short: "Check a configuration and the files it refers to",
		Long: `Check a configuration: its words, references and rules, the zone files, prefix
files and databases that it names; of a probe's caFile, that it is there. All
errors are reported, each with its place. Nothing is opened on the network and
no privilege is needed. Without FILE it is the configuration that serve would
read [PORTOLAN_CONFIG]. Of a folder, every *.yaml and *.yml file in it
is read, hidden ones left out. With --zones it is a folder of zone files, as
serve --zones has it.

Exit codes: 0 it can be served; 1 it cannot, or with --strict there are
warnings; 2 it could not be read.`,
		Example: `  portolan check portolan.yaml
  portolan check --strict -q /etc/portolan && portolan reload
  portolan check --zones ./zones`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, look := envOr("PORTOLAN_CONFIG", defaultConfig), build
			switch {
			case zones != "" && len(args) == 1:
				return see(cmd, fmt.Errorf("--zones %s and %s: check looks at one of them", zones, args[0]))
			case zones != "":
				path, look = zones, buildZones
			case len(args) == 1:
				path = args[0]
			}
			built, errs, err := look(path)
			if err != nil {
				return err
			}
			if len(errs) > 0 {
				_, _ = fmt.Fprint(cmd.ErrOrStderr(), errs.Render())
			}
			if built == nil || errs.Failed() || strict && len(errs) > 0 {
				return exit(1)
			}
			if !quiet {
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok: %s, %s, %s\n", path,
					counted(built.DNS.Size(), "zone"), counted(len(built.Model.Pools), "pool"), counted(len(built.Plan.Checks), "probe"))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&zones, "zones", "", "check this folder of zone files")
	cmd.Flags().BoolVar(&strict, "strict", false, "warnings count as errors")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "say nothing when all is well")
	return cmd
}

// build makes a configuration offline. The error is set only if nobody knows
// whether it is good, for a file of it could not be read.
func build(path string) (*daemon.Built, config.Errors, error) {
	src, err := daemon.SourceOf(path)
	if err != nil {
		return nil, nil, err
	}
	built, errs := daemon.Build(src, nil, nil)
	for _, e := range errs {
		if e.Unread {
			return nil, nil, e
		}
	}
	return built, errs, nil
}

// buildZones makes the tables of a folder of zone files offline.
func buildZones(dir string) (*daemon.Built, config.Errors, error) {
	return daemon.BuildFolder(dir, nil)
}
