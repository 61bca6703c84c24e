package main

import (
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
)

// logFlags are the flags of commands that write a log.
type logFlags struct{ format, level *choice }

func addLogFlags(cmd *cobra.Command) logFlags {
	formats := []string{"text", "json"}
	if os.Getenv("JOURNAL_STREAM") != "" { // systemd reads it
		formats = []string{"json", "text"}
	}
	return logFlags{
		choiceFlag(cmd, "log-format", "", "how to write the log", formats...),
		choiceFlag(cmd, "log-level", "", "the least that is logged", "info", "debug", "warn", "error"),
	}
}

// open makes the log: one event, one line.
func (f logFlags) open(w io.Writer) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(f.level.word)); err != nil {
		return nil, err
	}
	o := &slog.HandlerOptions{Level: l}
	if f.format.word == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return slog.New(slog.NewTextHandler(w, o)), nil
}
