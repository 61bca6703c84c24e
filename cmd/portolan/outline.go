package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// outlineWidth is up to where a list or an object stays on one line.
const outlineWidth = 90

// outline prints a value that came as JSON in the style of a configuration.
// Unlike a YAML printer it needs no order of keys from JSON, and shows times
// in the operator's zone. Its first line starts with first, the others with
// indent.
func (p *printer) outline(first, indent string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range keys(v) {
			p.entry(first+key+":", indent, v[key])
			first = indent
		}
	case []any:
		for _, e := range v {
			if text := flow(e); !nested(e) || len(indent)+len(text) < outlineWidth {
				p.line("%s- %s", first, text)
			} else {
				p.outline(first+"- ", indent+"  ", e)
			}
			first = indent
		}
	default:
		p.line("%s%s", first, scalar(v))
	}
}

// entry prints what follows a key: beside it if that is short.
func (p *printer) entry(head, indent string, v any) {
	if text := flow(v); !nested(v) || len(head)+len(text) < outlineWidth {
		p.line("%s %s", head, text)
		return
	}
	p.line("%s", head)
	p.outline(indent+"  ", indent+"  ", v)
}

func nested(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// flow is a value on one line.
func flow(v any) string {
	var parts []string
	switch v := v.(type) {
	case map[string]any:
		for _, key := range keys(v) {
			parts = append(parts, key+": "+flow(v[key]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		for _, e := range v {
			parts = append(parts, flow(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return scalar(v)
}

func scalar(v any) string {
	switch v := v.(type) {
	case float64: // serials and nanoseconds are whole numbers below 2^53
		return strconv.FormatFloat(v, 'f', -1, 64)
	case string:
		if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return t.Local().Format(time.RFC3339)
		}
		return v
	}
	return fmt.Sprint(v)
}

// keys gives the keys of an object: its name or id first, then by alphabet.
func keys(v map[string]any) []string {
	rank := func(key string) string {
		if key == "name" || key == "id" {
			return ""
		}
		return key
	}
	return slices.SortedFunc(maps.Keys(v), func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
}
