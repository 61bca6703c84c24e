package config

import (
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

// keptValue reads a value of a corpus, of the one kind that the target here has.
func keptValue(word string) (any, error) {
	text, err := strconv.Unquote(strings.TrimSuffix(strings.TrimPrefix(word, "[]byte("), ")"))
	return []byte(text), err
}
