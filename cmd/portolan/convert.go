package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/convert"
)

func convertCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "convert",
		Short: "Turn another server's configuration into one of portolan",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(convertGdnsdCommand())
	return cmd
}

const convertGdnsdManual = `Read the configuration folder of a gdnsd 3 (the files config, zones/ and geoip/)
and write a configuration of portolan: portolan.yaml, zone files and lists of
prefixes. Nothing of gdnsd's is changed, and no gdnsd is needed.

With --to a folder is written, and checked as portolan check does; a folder that
holds something is refused unless --force is given. Without it, or with -, the
YAML alone is printed.

What could not be taken over is listed line by line with its place: "lost" has
nothing that stands for it, "differs" acts otherwise in a case that is told,
"note" is for information. The list is printed to stdout, or to stderr beside
YAML.

Exit codes: 0 all is taken over; 1 something is lost or differs, or check
refuses what was written; 2 it could not be read, or not written.`

func convertGdnsdCommand() *cobra.Command {
	var to string
	var force bool
	var output *choice
	cmd := &cobra.Command{
		Use:   "gdnsd DIR",
		Short: "Convert a gdnsd configuration folder",
		Long:  convertGdnsdManual,
		Example: `  portolan convert gdnsd /etc/gdnsd
  portolan convert gdnsd /etc/gdnsd --to /etc/portolan
  portolan convert gdnsd /etc/gdnsd --to out -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			src := config.Source{FS: os.DirFS("/"), Dir: strings.TrimPrefix(dir, "/"), Name: ".", Shown: filepath.Clean(args[0])}
			r, err := convert.GDNSD(src)
			if err != nil {
				return err
			}
			good := true
			if to == "-" || to == "" {
				err = printConverted(cmd, r, output.word)
			} else {
				good, err = writeConverted(cmd, r, to, force, output.word)
			}
			switch {
			case err != nil:
				return err
			case !good || r.Report.Loses():
				return exit(1)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "write this folder; - or none: print the YAML")
	cmd.Flags().BoolVar(&force, "force", false, "write into a folder that holds something")
	output = outputFlag(cmd, "text", "json")
	return cmd
}

// converted is what -o json prints.
type converted struct {
	Files  []string       `json:"files"`            // written, or that belong to the YAML
	Config string         `json:"config,omitempty"` // the YAML, if no folder was written
	Report convert.Report `json:"report"`
}

func printConverted(cmd *cobra.Command, r *convert.Result, form string) error {
	if form == "json" {
		return printJSON(cmd.OutOrStdout(), converted{fileNames(r), string(r.Config), report(r)})
	}
	if _, err := cmd.OutOrStdout().Write(r.Config); err != nil {
		return err
	}
	printReport(cmd.ErrOrStderr(), r)
	return nil
}

// writeConverted writes a folder and checks it. good is false if check refuses
// what was written.
func writeConverted(cmd *cobra.Command, r *convert.Result, to string, force bool, form string) (good bool, err error) {
	if err := writeFolder(r, to, force); err != nil {
		return false, err
	}
	if form == "json" {
		if err := printJSON(cmd.OutOrStdout(), converted{append([]string{convert.ConfigName}, fileNames(r)...), "", report(r)}); err != nil {
			return false, err
		}
	} else {
		printReport(cmd.OutOrStdout(), r)
		_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s, %s\n", filepath.Join(to, convert.ConfigName),
			counted(r.Zones, "zone"), counted(r.Names, "dynamic name"), counted(r.Pools, "pool"))
	}
	built, errs, err := build(filepath.Join(to, convert.ConfigName))
	if err != nil {
		return false, err
	}
	if len(errs) > 0 {
		_, _ = fmt.Fprint(cmd.ErrOrStderr(), errs.Render())
	}
	return built != nil && !errs.Failed(), nil
}

// writeFolder writes the files of a conversion. Those that are there already
// are replaced, others are left alone.
func writeFolder(r *convert.Result, to string, force bool) error {
	switch there, err := os.ReadDir(to); {
	case err != nil && !os.IsNotExist(err):
		return err
	case len(there) > 0 && !force:
		return fmt.Errorf("%s: the folder is not empty; --force writes into it all the same", to)
	}
	files := maps.Clone(r.Files)
	if files == nil {
		files = map[string][]byte{}
	}
	files[convert.ConfigName] = r.Config
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(to, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, files[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

func fileNames(r *convert.Result) []string {
	return append([]string{}, slices.Sorted(maps.Keys(r.Files))...)
}

func report(r *convert.Result) convert.Report { return append(convert.Report{}, r.Report...) }

func printReport(w io.Writer, r *convert.Result) {
	for _, i := range r.Report {
		_, _ = fmt.Fprintln(w, shown(i.String()))
	}
}
