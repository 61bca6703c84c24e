package dnsserver

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// kept adds what long runs of a fuzz target have found to be of use: the lines
// of testdata/corpus, one input a line, its arguments between tabs as the go
// command writes them (make corpus).
func kept(f *testing.F) {
	f.Helper()
	text, err := os.ReadFile("testdata/corpus/" + f.Name() + ".txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var args []any
		for word := range strings.SplitSeq(strings.TrimSuffix(line, "\n"), "\t") {
			arg, err := keptValue(word)
			if err != nil {
				f.Fatalf("%s: %v", word, err)
			}
			args = append(args, arg)
		}
		f.Add(args...)
	}
}

// keptValue reads a value of a corpus: []byte("a"), byte('a'), uint16(1), ...
func keptValue(word string) (any, error) {
	kind, rest, _ := strings.Cut(word, "(")
	rest = strings.TrimSuffix(rest, ")")
	switch kind {
	case "string":
		return strconv.Unquote(rest)
	case "[]byte":
		text, err := strconv.Unquote(rest)
		return []byte(text), err
	case "byte", "uint8":
		if strings.HasPrefix(rest, "'") {
			r, _, _, err := strconv.UnquoteChar(rest[1:], '\'')
			return byte(r), err
		}
		n, err := strconv.ParseUint(rest, 0, 8)
		return byte(n), err
	case "uint16":
		n, err := strconv.ParseUint(rest, 0, 16)
		return uint16(n), err
	case "int64":
		return strconv.ParseInt(rest, 0, 64)
	}
	return nil, fmt.Errorf("a kind of value that no target has")
}
