package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Error is one thing that is wrong with a configuration or with a file that it
// refers to.
type Error struct {
	Pos     Pos    // zero when no place can be named
	Path    string // path in the document, "pools[0].preferred"; empty for other files
	Text    string // what is wrong and what is allowed, lower case, one line
	Hint    string // `did you mean "topology"?`; may be empty
	Snippet string // the source lines with a caret, "\n"-separated; may be empty
	Warning bool   // does not stop the configuration from being used
	Limit   string // key below dns.limits of the limit that was exceeded; empty for nearly all
	Unread  bool   // a file of the configuration itself could not be read, so nobody knows what is wrong with it
}

// Error prints file:line:col: path: text, on one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Pos.File != "" {
		b.WriteString(e.Pos.String())
		b.WriteString(": ")
	}
	if e.Path != "" {
		b.WriteString(e.Path)
		b.WriteString(": ")
	}
	b.WriteString(e.Text)
	return printable(b.String())
}

// printable is a text as a terminal may have it: the name of a file, or what
// stands in it, can neither move the cursor nor begin another line.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// String prints file:line:col, leaving out what is unknown.
func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Col == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
	}
}

// Errors is every error and warning of one run, in the order of the files.
type Errors []*Error

// Error prints one line an error.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Failed says whether any of them is more than a warning.
func (es Errors) Failed() bool {
	return slices.ContainsFunc(es, func(e *Error) bool { return !e.Warning })
}
