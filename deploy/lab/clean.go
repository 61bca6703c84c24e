package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"syscall"
)

// clean removes the namespaces of labs whose process is gone: one that was
// killed could not do so itself.
func clean(out io.Writer) error {
	entries, err := os.ReadDir(namespaces)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ours := regexp.MustCompile(`^plab([0-9]+)-([a-z]+)$`)
	for _, e := range entries {
		m := ours.FindStringSubmatch(e.Name())
		if m == nil || !slices.ContainsFunc(places, func(p place) bool { return p.name == m[2] }) {
			continue
		}
		pid, err := strconv.Atoi(m[1])
		if err != nil || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			continue
		}
		if err := run("ip", "", "netns", "del", e.Name()); err != nil {
			return err
		}
		fmt.Fprintf(out, "removed %s\n", e.Name())
	}
	return nil
}
