package convert

import (
	"slices"
	"strconv"
	"strings"
)

// get gives the value of a key, or nil. n may be nil.
func (n *node) get(key string) *node {
	if n == nil || n.kind != hash || n.index[key] == nil {
		return nil
	}
	return n.index[key].value
}

// list gives the values of an array; a value that is none is a list of one.
func (n *node) list() []*node {
	switch {
	case n == nil:
		return nil
	case n.kind == array:
		return n.items
	default:
		return []*node{n}
	}
}

// texts gives the strings of a list; what is no string is left out.
func (n *node) texts() (all []string) {
	for _, item := range n.list() {
		if item.kind == scalar {
			all = append(all, item.text)
		}
	}
	return all
}

// number gives a whole number that is not negative.
func (n *node) number() (int, bool) {
	if n == nil || n.kind != scalar {
		return 0, false
	}
	v, err := strconv.ParseUint(n.text, 10, 31)
	return int(v), err == nil
}

// isTrue says whether a value is the word true, in any case.
func (n *node) isTrue() bool {
	return n != nil && n.kind == scalar && strings.EqualFold(n.text, "true")
}

// String prints a value on one line, as reports name it.
func (n *node) String() string {
	const most = 60
	text := n.brief()
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}

func (n *node) brief() string {
	switch n.kind {
	case scalar:
		return n.text
	case array:
		parts := make([]string, 0, min(len(n.items), 10))
		for _, item := range n.items[:min(len(n.items), 10)] {
			parts = append(parts, item.brief())
		}
		return "[ " + strings.Join(parts, ", ") + " ]"
	default:
		return "{...}"
	}
}

// chain is a hash inside others that it inherits keys from, innermost first.
type chain []*node

// get gives the value of a key in the innermost hash that has it.
func (c chain) get(key string) *node {
	for _, n := range c {
		if v := n.get(key); v != nil {
			return v
		}
	}
	return nil
}

// under puts a hash inside the chain.
func (c chain) under(n *node) chain { return append(chain{n}, slices.Clone(c)...) }
