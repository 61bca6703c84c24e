package config

import (
	"fmt"
	"slices"
	"strings"
)

// maxErrors bounds what one run reports; a configuration that has more is
// broken in one way many times.
const maxErrors = 1000

// journal collects the errors of a run.
type journal struct {
	errs  Errors
	order []int // of errs: the file's place, so that they can be sorted
	more  int   // errors beyond maxErrors
}

// add notes an error in f, giving it the file's name and a snippet.
func (j *journal) add(f *file, e *Error) {
	if j.full() {
		return
	}
	order := -1
	if f != nil {
		e.Pos.File, order = f.shown, f.order
		e.Snippet = f.snippet(e.Pos)
	}
	j.errs = append(j.errs, e)
	j.order = append(j.order, order)
}

// full says whether there is no room for one more error, which it counts.
func (j *journal) full() bool {
	if len(j.errs) < maxErrors {
		return false
	}
	j.more++
	return true
}

// sorted gives the errors in the order of the files and lines.
func (j *journal) sorted() Errors {
	at := make(map[*Error]int, len(j.errs))
	for i, e := range j.errs {
		at[e] = j.order[i]
	}
	slices.SortStableFunc(j.errs, func(a, b *Error) int {
		if d := at[a] - at[b]; d != 0 {
			return d
		}
		if d := a.Pos.Line - b.Pos.Line; d != 0 {
			return d
		}
		return a.Pos.Col - b.Pos.Col
	})
	if j.more > 0 {
		j.errs = append(j.errs, &Error{Text: fmt.Sprintf("and %s", count(j.more, "more error"))})
	}
	return j.errs
}

// Widths of a snippet's line: a line of JSON may be long.
const (
	snippetBefore = 60 // columns kept before the caret when a line is cut
	snippetWidth  = 100
	snippetLine   = 16 << 10 // bytes; nobody looks for a caret in longer lines
)

// snippet shows the line of p with a caret under it, and the line before.
func (f *file) snippet(p Pos) string {
	if p.Line == 0 || len(f.line(p.Line)) > snippetLine {
		return ""
	}
	from := 0
	if p.Col > snippetWidth-20 {
		from = p.Col - snippetBefore
	}
	width := max(2, len(fmt.Sprint(p.Line)))
	var b strings.Builder
	if p.Line > 1 && from == 0 {
		fmt.Fprintf(&b, "  %*d | %s\n", width, p.Line-1, window(f.line(p.Line-1), 0))
	}
	fmt.Fprintf(&b, "> %*d | %s\n", width, p.Line, window(f.line(p.Line), from))
	b.WriteString(strings.Repeat(" ", width+5+max(p.Col, 1)-1-from))
	b.WriteString("^")
	return b.String()
}

// window cuts what is shown out of a line, one column a rune, and takes the
// life out of tabs and control characters.
func window(line string, from int) string {
	if most := 4 * (from + snippetWidth); len(line) > most {
		line = line[:most]
	}
	runes := []rune(line) // at most snippetLine of them
	runes = runes[min(from, len(runes)):]
	runes = runes[:min(snippetWidth, len(runes))]
	for i, r := range runes {
		if r < ' ' || 0x7f <= r && r < 0xa0 {
			runes[i] = ' '
		}
	}
	return strings.TrimRight(string(runes), " ")
}

// Render prints the errors for a terminal: each with its snippet, and a last
// line that counts them. No errors render as "".
func (es Errors) Render() string {
	if len(es) == 0 {
		return ""
	}
	var b strings.Builder
	files := map[string]bool{}
	warnings := 0
	for _, e := range es {
		e.render(&b)
		if e.Pos.File != "" {
			files[e.Pos.File] = true
		}
		if e.Warning {
			warnings++
		}
	}
	var counts []string
	if n := len(es) - warnings; n > 0 {
		counts = append(counts, count(n, "error"))
	}
	if warnings > 0 {
		counts = append(counts, count(warnings, "warning"))
	}
	b.WriteString(strings.Join(counts, ", "))
	if len(files) > 0 {
		b.WriteString(" in " + count(len(files), "file"))
	}
	b.WriteString(".\n")
	return b.String()
}

func (e *Error) render(b *strings.Builder) {
	b.WriteString(e.Error())
	if e.Warning {
		b.WriteString(" (warning)")
	}
	switch {
	case e.Snippet != "":
		b.WriteString("\n" + e.Snippet)
		if e.Hint != "" {
			b.WriteString(" " + e.Hint)
		}
	case e.Hint != "":
		b.WriteString("; " + e.Hint)
	}
	b.WriteString("\n")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
