package main

import (
	"fmt"
	"io"
)

// report prints the table, as docs/differences.md has it, and gives an error if
// a reply of ours is wrong or a difference has no class.
func (t *tally) report(out io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	row := func(name string, of func(server string) int, last string) {
		fmt.Fprintf(out, "| %s |", name)
		for _, s := range t.servers {
			fmt.Fprintf(out, " %d |", of(s))
		}
		fmt.Fprintf(out, " %s |\n", last)
	}
	fmt.Fprint(out, "| class |")
	for _, s := range t.servers {
		fmt.Fprintf(out, " %s |", s)
	}
	fmt.Fprint(out, " ours alone |\n|---|")
	for range t.servers {
		fmt.Fprint(out, "---:|")
	}
	fmt.Fprint(out, "---:|\n")
	row("replies compared", func(s string) int { return t.pairs[s] }, "")
	row("equal", func(s string) int { return t.equal[s] }, "")
	strange, reasons := 0, ""
	for _, c := range classes {
		if len(t.classes[c.name]) > 0 {
			reasons += c.reason() + "\n"
			row(c.name, func(s string) int { return t.classes[c.name][s] }, fmt.Sprint(t.alone[c.name]))
		}
	}
	row("unexplained", func(s string) int { strange += t.strange[s]; return t.strange[s] }, "")
	fmt.Fprintf(out, "\n%s", reasons)
	if strange > 0 || t.faults > 0 {
		return fmt.Errorf("%d differences without a class, %d wrong replies", strange, t.faults)
	}
	return nil
}

// reason tells why a class is there, as the docs have it.
func (c *class) reason() string { return fmt.Sprintf("- **%s**: %s", c.name, c.why) }
