package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/status"
)

// watcher looks at the things of one kind again and again.
type watcher struct {
	listing
	only   string // name of the only thing that is looked at; empty: all
	o      getOptions
	every  time.Duration
	asJSON bool
	screen bool // redraw the table; else a line for each change
	left   uint // lines, or tables on a screen, until the end; 0: no end
	w      io.Writer

	shown  map[string]any // each thing as it was printed last
	widths []int
}

func watchCommand() *cobra.Command {
	w := watcher{}
	var length time.Duration
	var output *choice
	cmd := &cobra.Command{
		Use:   "watch KIND [NAME]",
		Short: "Show things, and then each change of them",
		Long: `Show the things of a kind, or one of them, and go on to show what changes. KIND
is as with get. On a terminal the table is drawn anew each second; elsewhere,
each thing is a line, and again whenever one of its cells changes, its age apart;
with -o json, whenever anything of it changes. What is new of events is shown as it comes.

It ends with Ctrl-C, after --for, or after --count lines (tables, on a
terminal).

Exit codes: 0 it was shown, 1 there is nothing of that name, 2 there is no
server to ask, or no such kind.`,
		Example: `  portolan watch links
  portolan watch link isp1 -o json --for 1m
  portolan watch events`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeWatch,
		RunE: func(cmd *cobra.Command, args []string) error {
			l, ok := findListing(args[0])
			if !ok {
				return unknownKind(args[0], kindWords())
			}
			w.listing, w.w, w.asJSON, w.o.limit = l, cmd.OutOrStdout(), output.word == "json", 50
			if cmd.Flags().Changed("for") && length <= 0 {
				return fmt.Errorf("--for %s is over before it begins: say a time above zero, such as 1m", length)
			}
			if len(args) == 2 {
				w.only = args[1]
			}
			if w.only != "" && l.name == nil {
				return fmt.Errorf("%s have no names", l.words[0])
			}
			w.screen = !w.asJSON && l.name != nil && isTerminal(w.w)
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			ctx, stop := untilTold(cmd)
			defer stop()
			if length > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, length)
				defer cancel()
			}
			return w.run(ctx, c)
		},
	}
	cmd.Flags().DurationVar(&length, "for", 0, "how long, such as 1m (default until Ctrl-C)")
	cmd.Flags().UintVar(&w.left, "count", 0, "end after so many lines, or tables on a terminal (default no end)")
	cmd.Flags().DurationVar(&w.every, "interval", time.Second, "between two looks, 100ms or more")
	output = outputFlag(cmd, "table", "json")
	return cmd
}

// isTerminal says whether a person looks at what is written.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// run looks until ctx ends, which is no error, or enough was printed.
func (w *watcher) run(ctx context.Context, c *client.Client) error {
	if w.every < 100*time.Millisecond {
		return fmt.Errorf("--interval %s is below 100ms", w.every)
	}
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for first := true; ; first = false {
		w.o.now = time.Now()
		list, rows, err := w.fetch(ctx, c, w.o)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		done, err := w.look(things(list), rows, first)
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// things makes a list of any type one of its elements.
func things(list any) []any {
	v := reflect.ValueOf(list)
	all := make([]any, v.Len())
	for i := range all {
		all[i] = v.Index(i).Interface()
	}
	return all
}

// look prints one look, and says whether that is the end.
func (w *watcher) look(list []any, rows [][]string, first bool) (done bool, err error) {
	all := rows
	list, rows = w.chosen(list, rows)
	switch {
	case w.only != "" && len(list) == 0 && first:
		return true, w.missing(all)
	case w.screen:
		return w.draw(rows)
	case first && !w.asJSON:
		if err := w.head(rows); err != nil {
			return true, err
		}
	}
	if w.shown == nil {
		w.shown = map[string]any{}
	}
	now := map[string]bool{}
	for i, thing := range list {
		if e, ok := thing.(status.Event); ok {
			w.o.after, w.o.limit = max(w.o.after, e.Seq), 0
		}
		key := w.keyOf(thing, rows[i])
		now[key] = true
		var is any = thing
		if !w.asJSON {
			is = w.ageless(rows[i])
		}
		if was, ok := w.shown[key]; ok && reflect.DeepEqual(was, is) {
			continue
		}
		w.shown[key] = is
		if done, err := w.print(thing, rows[i]); done || err != nil {
			return done, err
		}
	}
	return w.gone(now)
}

// chosen leaves the thing that is looked at.
func (w *watcher) chosen(list []any, rows [][]string) ([]any, [][]string) {
	if w.only == "" {
		return list, rows
	}
	for i, row := range rows {
		if w.nameOf(row) == w.only {
			return list[i : i+1], rows[i : i+1]
		}
	}
	return nil, nil
}

// missing says that there is nothing of the name, and what may have been meant.
func (w *watcher) missing(rows [][]string) error {
	names := make([]string, len(rows))
	for i, row := range rows {
		names[i] = w.nameOf(row)
	}
	hint := ""
	if like := api.Nearest(w.only, names); like != "" {
		hint = fmt.Sprintf("; did you mean %q?", like)
	}
	return api.Errorf(api.NotFound, "there is no %s %q%s", w.kind, w.only, hint)
}

func (l listing) nameOf(row []string) string {
	parts := make([]string, len(l.name))
	for i, column := range l.name {
		parts[i] = row[column]
	}
	return strings.Join(parts, "/")
}

// ageless is a row without the cells that change by themselves.
func (w *watcher) ageless(row []string) []string {
	cells := slices.Clone(row)
	for i, head := range w.header {
		if head == "FOR" || head == "LOADED FOR" || head == "LAST" || head == "EXPIRES" {
			cells[i] = ""
		}
	}
	return cells
}

// keyOf tells things from each other; events never change.
func (w *watcher) keyOf(thing any, row []string) string {
	if e, ok := thing.(status.Event); ok {
		return fmt.Sprint(e.Seq)
	}
	return w.nameOf(row)
}

// gone prints what there is no more. Events that are shown do not go.
func (w *watcher) gone(now map[string]bool) (done bool, err error) {
	if w.listing.name == nil {
		clear(w.shown)
		return false, nil
	}
	var names []string
	for name := range w.shown {
		if !now[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		delete(w.shown, name)
		row := make([]string, len(w.header))
		row[0] = name
		if len(row) > 1 {
			row[1] = "gone"
		}
		if done, err := w.print(map[string]any{"name": name, "gone": true}, row); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// print prints one thing on one line.
func (w *watcher) print(thing any, row []string) (done bool, err error) {
	if w.asJSON {
		text, err := json.Marshal(thing)
		if err != nil {
			return true, err
		}
		_, err = fmt.Fprintf(w.w, "%s\n", text)
		return w.enough(), err
	}
	_, err = fmt.Fprintln(w.w, w.line(row))
	return w.enough(), err
}

func (w *watcher) enough() bool {
	if w.left == 0 {
		return false
	}
	w.left--
	return w.left == 0
}

// head prints the header, over columns as wide as the first rows need.
func (w *watcher) head(rows [][]string) error {
	w.widths = make([]int, len(w.header))
	for _, row := range append([][]string{w.header}, rows...) {
		for i, cell := range row {
			w.widths[i] = max(w.widths[i], len([]rune(orDash(shown(cell)))))
		}
	}
	_, err := fmt.Fprintln(w.w, w.line(w.header))
	return err
}

func (w *watcher) line(row []string) string {
	cells := make([]string, len(row))
	for i, cell := range row {
		cells[i] = fmt.Sprintf("%-*s", w.widths[i], orDash(shown(cell)))
	}
	return strings.TrimRight(strings.Join(cells, "  "), " ")
}

// draw clears the screen and prints the table.
func (w *watcher) draw(rows [][]string) (done bool, err error) {
	if _, err := io.WriteString(w.w, "\x1b[H\x1b[2J"+w.o.now.Format(time.TimeOnly)+"  Ctrl-C ends\n"); err != nil {
		return true, err
	}
	return w.enough(), printTable(w.w, w.header, rows)
}
