package doctor

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Level is how bad it is.
type Level string

// The levels.
const (
	Problem Level = "problem" // something does not work, or not always
	Hint    Level = "hint"    // it works, and might fail one day
)

// Finding is one thing that is wrong.
type Finding struct {
	ID       string   `json:"id"` // of this kind of trouble, docs/manual/doctor.md
	Level    Level    `json:"level"`
	What     string   `json:"what"`
	Breaks   string   `json:"breaks"`   // what does not work for it
	Evidence string   `json:"evidence"` // what was seen
	Repair   []string `json:"repair"`   // commands, in their order
}

// Report is all that was found.
type Report struct {
	Configured bool      `json:"configured"` // false: this machine was looked at as a gateway, by guess
	Findings   []Finding `json:"findings"`
	Unseen     []Unseen  `json:"unseen"`
}

// checks are all kinds of trouble, each told by one function.
var checks = []func(f *Facts) []Finding{
	interfaces, srcValidMark, fwmarkReflect, tcpFwmarkAccept, rpFilter, forwarding, acceptRA, disabledIPv6, addressesOnDown,
	tracking, tcpLoose, wished, helpers,
	ruleMarks, rulesBefore, tailscale,
	foreignMarks, dropsForwarded, dropsQueries, rewritesSource, untracks, offloads, takesQueries, legacyTables,
	ports, capabilities,
}

// Examine tells what is wrong, the problems first.
func Examine(f *Facts) *Report {
	r := &Report{Configured: f.Configured, Findings: []Finding{}, Unseen: append([]Unseen{}, f.Unseen...)}
	for _, check := range checks {
		r.Findings = append(r.Findings, check(f)...)
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return -cmp.Compare(a.Level, b.Level) })
	return r
}

// ExitCode is 1 with a problem, else 2 if something could not be looked at, else
// 0. Hints are none of that.
func (r *Report) ExitCode() int {
	switch {
	case r.count(Problem) > 0:
		return 1
	case len(r.Unseen) > 0:
		return 2
	}
	return 0
}

func (r *Report) count(l Level) (n int) {
	for _, f := range r.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

// WriteText writes a report for people: a paragraph a finding, commands as they
// are typed.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	if !r.Configured {
		b.WriteString("no configuration: looked at as a gateway whose interfaces with a default route are links\n\n")
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s %s: %s\n  breaks:   %s\n", f.Level, f.ID, f.What, f.Breaks)
		if f.Evidence != "" {
			fmt.Fprintf(&b, "  evidence: %s\n", f.Evidence)
		}
		for i, command := range f.Repair {
			fmt.Fprintf(&b, "  %-9s %s\n", [2]string{"repair:", ""}[min(i, 1)], command)
		}
		b.WriteByte('\n')
	}
	for _, u := range r.Unseen {
		fmt.Fprintf(&b, "not seen: %s (%s)\n", u.What, u.Why)
	}
	fmt.Fprintf(&b, "%s, %s, %d not seen\n", counted(r.count(Problem), "problem"), counted(r.count(Hint), "hint"), len(r.Unseen))
	_, err := io.WriteString(w, strings.Map(shown, b.String()))
	return err
}

// shown keeps names of other programs from moving the cursor of a terminal.
func shown(r rune) rune {
	if r != '\n' && !strconv.IsPrint(r) {
		return '?'
	}
	return r
}

// shell writes one word for a shell: names are of others, and a command that is
// pasted must do no more than it says.
func shell(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@/:=-") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

func nft(format string, args ...any) string { return "nft " + shell(fmt.Sprintf(format, args...)) }

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
