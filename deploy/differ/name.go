package main

import (
	"fmt"
	"strings"
)

// name is a domain name as the wire has it without compression: each label
// after its length, and the root last. Its case is as written; names are
// compared after [name.lower].
type name string

const (
	root     = name("\x00")
	maxName  = 255 // octets (RFC 1035 2.3.4)
	maxLabel = 63
)

// parseName reads a name of the program's own, absolute and without escapes.
func parseName(text string) name {
	n := root
	labels := strings.Split(strings.TrimSuffix(text, "."), ".")
	for i := len(labels) - 1; i >= 0 && labels[i] != ""; i-- {
		n, _ = n.child(labels[i])
	}
	return n
}

// child puts a label before a name, and says whether the two are a name.
func (n name) child(label string) (name, bool) {
	if len(label) == 0 || len(label) > maxLabel || len(n)+1+len(label) > maxName {
		return n, false
	}
	return name(rune1(len(label)) + label + string(n)), true
}

// under puts labels, the last one first, before a name; what does not fit is
// left out.
func (n name) under(labels ...string) name {
	for i := len(labels) - 1; i >= 0; i-- {
		n, _ = n.child(labels[i])
	}
	return n
}

func rune1(n int) string { return string([]byte{byte(n)}) }

// parent gives the name above; the root is its own parent.
func (n name) parent() name {
	if n == root {
		return root
	}
	return n[1+int(n[0]):]
}

// first gives the first label, and nothing for the root.
func (n name) first() string { return string(n[1 : 1+int(n[0])]) }

// labels counts the labels without the root.
func (n name) labels() int {
	count := 0
	for ; n != root; n = n.parent() {
		count++
	}
	return count
}

// lower folds A to Z (RFC 4343). The lengths are below 64, so that no one of
// them is a letter.
func (n name) lower() name { return name(lowerASCII(string(n))) }

func lowerASCII(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			folded := []byte(s)
			for j, c := range folded {
				if 'A' <= c && c <= 'Z' {
					folded[j] = c + 'a' - 'A'
				}
			}
			return string(folded)
		}
	}
	return s
}

// in says whether a name is another or below it; both are in lower case.
func (n name) in(above name) bool {
	for len(n) > len(above) {
		n = n.parent()
	}
	return n == above
}

// below says the same, without the name itself.
func (n name) below(above name) bool { return n != above && n.in(above) }

// String gives the name as master files have it (RFC 1035 5.1).
func (n name) String() string {
	if n == root {
		return "."
	}
	var b strings.Builder
	for ; n != root; n = n.parent() {
		for _, c := range []byte(n.first()) {
			writeOctet(&b, c, `.;()"@$\`)
		}
		b.WriteByte('.')
	}
	return b.String()
}

// writeOctet writes one octet of text; those of the list get a backslash, and
// what is no printable ASCII three digits.
func writeOctet(b *strings.Builder, c byte, escaped string) {
	switch {
	case strings.IndexByte(escaped, c) >= 0:
		b.WriteByte('\\')
		b.WriteByte(c)
	case c <= ' ' || c >= 0x7f:
		fmt.Fprintf(b, `\%03d`, c)
	default:
		b.WriteByte(c)
	}
}
