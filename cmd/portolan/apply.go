package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
)

func applyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a configuration in the place of the one that runs",
		Long: `Check a configuration where it stands, send it to the server, and return when
it is served. It is all or nothing: on any error, in a zone file too, nothing
changes. The server replaces its own file and keeps the last three versions
beside it, as NAME.1 (the newest) to NAME.3. Relative references must mean the
same files in the server's folder.

Exit codes: 0 it is served, or was already; 1 it was refused and nothing
changed; 2 it could not be read, or there is no server to ask.`,
		Example: `  portolan apply new.yaml
  portolan apply /etc/portolan/portolan.yaml.1      # back to the version before`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			built, errs, err := build(args[0])
			if err != nil {
				return err
			}
			if built == nil || errs.Failed() {
				_, _ = fmt.Fprint(cmd.ErrOrStderr(), errs.Render())
				_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "Nothing was changed.")
				return exit(1)
			}
			change, err := changeOf(args[0])
			if err != nil {
				return err
			}
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			applied, err := c.Apply(cmd.Context(), change)
			return printApplied(cmd, applied, err)
		},
	}
}

func changeOf(path string) (api.Change, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return api.Change{}, err
	}
	if info, err := os.Stat(abs); err == nil && info.IsDir() {
		return api.Change{}, fmt.Errorf("%s is a folder; apply takes one file", path)
	}
	text, err := os.ReadFile(abs)
	return api.Change{Base: filepath.Dir(abs), Files: map[string]string{filepath.Base(abs): string(text)}}, err
}

func reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the server read its configuration again",
		Long: `Make the server read its configuration and zone files again, as SIGHUP does, and
return when they are served. A configuration that is bad changes nothing. A zone
whose file is bad stays as it was, and all else is taken into use.

Exit codes: 0 all is served; 1 nothing changed, or all but the zones that are
named; 2 there is no server to ask.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			applied, err := c.Reload(cmd.Context())
			return printApplied(cmd, applied, err)
		},
	}
}

func printApplied(cmd *cobra.Command, applied api.Applied, err error) error {
	if err != nil {
		return err
	}
	printDetails(cmd.ErrOrStderr(), applied.Warnings)
	what := "unchanged: already serving"
	if applied.Changed {
		what = "serving"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s revision %s\n", what, applied.Revision)
	return err
}
