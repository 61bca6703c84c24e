package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
)

// streamer is an endpoint that writes its answer by itself, as it goes. An error
// that it gives is told; then it must have written nothing.
type streamer func(w http.ResponseWriter, r *http.Request) error

func (s *Server) stream(e streamer) http.Handler {
	return s.admit(s.slots, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := e(w, r); err != nil {
			s.fail(w, r, err)
		}
	}))
}

// stream is [writeList] for what takes the kernel a while: few are made at once.
func stream[T any](s *Server, w http.ResponseWriter, key string, most int, each func(yield func(T) bool) error) error {
	select {
	case s.looks <- struct{}{}:
		defer func() { <-s.looks }()
	default:
		return Errorf(Overloaded, "%d such questions are being answered already; try again", maxLooks)
	}
	return writeList(s, w, key, most, each)
}

// writeList writes {"KEY": [...], "more": false} as the things come: what they are
// together never has to be in memory. Of an error that comes after the first
// thing the answer tells.
func writeList[T any](s *Server, w http.ResponseWriter, key string, most int, each func(yield func(T) bool) error) error {
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(w, 64<<10)
	n, more := 0, false
	var broke error
	err := each(func(thing T) bool {
		if more = n == most; more {
			return false
		}
		text, err := json.Marshal(thing)
		if err == nil {
			_, err = fmt.Fprintf(out, "%s%s", separator(key, n), text)
		}
		n++
		broke = err // nobody listens any more
		return err == nil
	})
	if err != nil && n == 0 {
		return Errorf(Unavailable, "%v", err)
	}
	end := SessionList{More: more}
	if err != nil {
		end.Error = err.Error()
	}
	if broke != nil {
		s.opts.Log.Debug("api answer not delivered", "error", broke)
		return nil
	}
	if n == 0 {
		_, _ = out.WriteString(separator(key, 0)) // errors stay until Flush
	}
	reason, _ := json.Marshal(end.Error) // a text always marshals
	_, _ = fmt.Fprintf(out, `],"more":%t`, more)
	if end.Error != "" {
		_, _ = fmt.Fprintf(out, `,"error":%s`, reason)
	}
	_, _ = out.WriteString("}\n")
	if err := out.Flush(); err != nil {
		s.opts.Log.Debug("api answer not delivered", "error", err)
	}
	return nil
}

// writeArray writes [...] as the things come.
func writeArray[T any](s *Server, w http.ResponseWriter, each iter.Seq[T]) error {
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(w, 64<<10)
	before := byte('[')
	for thing := range each {
		text, err := json.Marshal(thing)
		if err == nil {
			_ = out.WriteByte(before) // errors stay until Flush
			_, err = out.Write(text)
		}
		if before = ','; err != nil {
			s.opts.Log.Debug("api answer not delivered", "error", err)
			return nil
		}
	}
	if before == '[' {
		_ = out.WriteByte('[')
	}
	_, _ = out.WriteString("]\n")
	if err := out.Flush(); err != nil {
		s.opts.Log.Debug("api answer not delivered", "error", err)
	}
	return nil
}

// separator is what stands before the nth thing of a list.
func separator(key string, n int) string {
	if n == 0 {
		return fmt.Sprintf("{%q:[", key)
	}
	return ","
}
