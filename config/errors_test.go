package config

import "testing"

// What a file is called, or says, does not move the cursor of who reads the
// error, nor does it look like another one.
func TestError_Printable(t *testing.T) {
	e := &Error{Pos: Pos{File: "e\x1b[31m\nzone", Line: 3, Col: 1}, Text: "bad \a\u202eword"}
	if got, want := e.Error(), "e?[31m?zone:3:1: bad ??word"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
