package probe

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strconv"
	"unicode/utf8"
)

// maxRead is how much of a reply is searched for the expected text, in bytes.
const maxRead = 64 << 10

// unescape reads the Go escapes of a payload (\r\n, \x00). Text that is not
// validly escaped is taken as it stands.
func unescape(s string) []byte {
	var out []byte
	for rest := s; rest != ""; {
		if rest[0] == '"' || rest[0] == '\n' { // plain here, unlike in a Go string
			out, rest = append(out, rest[0]), rest[1:]
			continue
		}
		r, multibyte, tail, err := strconv.UnquoteChar(rest, '"')
		switch {
		case err != nil:
			return []byte(s)
		case multibyte:
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, byte(r))
		}
		rest = tail
	}
	return out
}

// talk sends the probe's payload over a stream and waits for the expected
// text, each only if it is set. It adds what it saw to seen.
func (t *Task) talk(conn net.Conn, seen string) Result {
	if t.Probe.Send != "" {
		if _, err := conn.Write(unescape(t.Probe.Send)); err != nil {
			return t.failed(err)
		}
	}
	if t.Probe.Expect == "" {
		return t.pass("%s", seen)
	}
	got, found, err := search(conn, []byte(t.Probe.Expect))
	switch {
	case found:
		return t.pass("%s, %q received", seen, t.Probe.Expect)
	case err != nil && len(got) == 0:
		r := t.failed(err)
		r.Saw = seen + ", then " + r.Saw
		return r
	default:
		return t.fail("%s, expected %q, got %q", seen, t.Probe.Expect, excerpt(got))
	}
}

// search reads r until want was seen, the end, or maxRead bytes. The end of
// the stream is no error unless nothing came before it.
func search(r io.Reader, want []byte) (got []byte, found bool, err error) {
	chunk := make([]byte, 4096)
	for len(got) < maxRead {
		n, err := r.Read(chunk)
		// Only the new bytes, and as many old ones as a match may straddle.
		from := max(len(got)-len(want), 0)
		got = append(got, chunk[:n]...)
		if bytes.Contains(got[from:], want) {
			return got, true, nil
		}
		if errors.Is(err, io.EOF) && len(got) > 0 {
			return got, false, nil
		}
		if err != nil {
			return got, false, err
		}
	}
	return got, false, nil
}

// excerpt is the beginning of a reply, for evidence.
func excerpt(b []byte) []byte { return b[:min(len(b), 60)] }
