package convert

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// The configuration is written as its owner would write it: sections in the
// order of the documentation, one line a member, and comments that say where
// things come from. Values are strings, ints, bools, time.Durations and:

// mapping is keys and values in order; entries whose value is nil are left out.
type mapping []entry

type entry struct {
	key   string
	value any
}

// list is values on one line.
type list []any

// lines is a list with one line an entry, each with a comment that may be empty.
type lines []line

type line struct {
	value   any
	comment string
}

// blocks is a list of mappings that take several lines each.
type blocks []block

type block struct {
	comment string
	mapping
}

// words makes a list of strings; nil for none.
func words(texts []string) any {
	if len(texts) == 0 {
		return nil
	}
	l := make(list, len(texts))
	for i, t := range texts {
		l[i] = t
	}
	return l
}

// orNil gives nil for a zero value, so that its key is left out.
func orNil[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

// document writes a whole configuration.
func document(head string, m mapping) []byte {
	var b strings.Builder
	for _, l := range strings.Split(head, "\n") {
		b.WriteString("# " + l + "\n")
	}
	for _, e := range m {
		if e.value == nil || emptyList(e.value) {
			continue
		}
		switch e.value.(type) {
		case lines, blocks, mapping:
			b.WriteString("\n")
		}
		writeEntry(&b, "", e)
	}
	return []byte(b.String())
}

func emptyList(v any) bool {
	switch v := v.(type) {
	case lines:
		return len(v) == 0
	case blocks:
		return len(v) == 0
	case list:
		return len(v) == 0
	}
	return false
}

// writeEntry writes a key and its value at an indent.
func writeEntry(b *strings.Builder, indent string, e entry) {
	switch v := e.value.(type) {
	case nil:
	case mapping:
		if indent != "" { // only sections take several lines
			fmt.Fprintf(b, "%s%s: %s\n", indent, e.key, flow(v))
			return
		}
		fmt.Fprintf(b, "%s:\n", e.key)
		for _, inner := range v {
			if !emptyList(inner.value) {
				writeEntry(b, "  ", inner)
			}
		}
	case lines:
		fmt.Fprintf(b, "%s%s:\n", indent, e.key)
		for _, l := range v {
			fmt.Fprintf(b, "%s  - %s%s\n", indent, flow(l.value), comment(l.comment))
		}
	case blocks:
		fmt.Fprintf(b, "%s%s:\n", indent, e.key)
		for _, m := range v {
			if m.comment != "" {
				fmt.Fprintf(b, "%s  #%s\n", indent, strings.TrimPrefix(comment(m.comment), " #"))
			}
			var inner strings.Builder
			for _, e := range m.mapping {
				writeEntry(&inner, indent+"    ", e)
			}
			text := inner.String()
			b.WriteString(indent + "  - " + strings.TrimPrefix(text, indent+"    "))
		}
	default:
		fmt.Fprintf(b, "%s%s: %s\n", indent, e.key, flow(v))
	}
}

// comment makes a comment that cannot end its line or move a cursor.
func comment(text string) string {
	if text == "" {
		return ""
	}
	return " # " + strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// flow writes a value on one line.
func flow(v any) string {
	switch v := v.(type) {
	case mapping:
		var parts []string
		for _, e := range v {
			if e.value != nil {
				parts = append(parts, e.key+": "+flow(e.value))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case list:
		parts := make([]string, len(v))
		for i, item := range v {
			parts[i] = flow(item)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case string:
		return plain(v)
	case time.Duration:
		return config.Duration(v).String()
	default:
		return fmt.Sprint(v)
	}
}

// plain writes a string without quotes where YAML reads it back as it is.
func plain(s string) string {
	const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-%"
	switch _, notNumber := strconv.ParseFloat(s, 64); {
	case strings.Trim(s, safe) != "" || s == "" || notNumber == nil:
	case isAddress(s):
		return s
	case s[0] == '-' || s[0] == '.' || s[0] == '%' || s[0] >= '0' && s[0] <= '9' && !strings.HasSuffix(s, "%"):
	case reserved[strings.ToLower(s)]:
	default:
		return s
	}
	return quoteYAML(s)
}

// reserved are words that some YAML reader takes for something else.
var reserved = map[string]bool{"true": true, "false": true, "null": true, "yes": true, "no": true, "on": true, "off": true, "y": true, "n": true}

func isAddress(s string) bool {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Is4()
	}
	p, err := netip.ParsePrefix(s)
	return err == nil && p.Addr().Is4()
}

func quoteYAML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "?") {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case !strconv.IsPrint(r) && r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case !strconv.IsPrint(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
