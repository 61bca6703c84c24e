package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Found says where something that was loaded comes from.
type Found struct {
	Generation uint64    // the number of the file; rises by one with each save
	Saved      time.Time // when it was written
	PassedOver []error   // newer files that could not be used, each with its name and why
}

const (
	generations = 3
	maxFile     = 64 << 20 // bytes of one file of a kind, head included
)

// kindName is what a kind may be called. It becomes part of a file name, so
// nothing that came from a zone or a query may get here.
var kindName = regexp.MustCompile(`^[a-z][a-z-]{0,30}$`)

// save writes a new generation of a kind, unless body is what the newest one
// holds, and drops those that are too old. It reports whether it wrote.
// The caller holds s.mu.
func (s *Store) save(kind string, version int, body []byte) (bool, error) {
	if !kindName.MatchString(kind) {
		return false, fmt.Errorf("save %q: not a name for a kind of state", kind)
	}
	numbers, err := s.numbers(kind)
	if err != nil {
		return false, fmt.Errorf("save %s: %w", kind, err)
	}
	sum := bodySum(version, body)
	if s.newest(kind, numbers) == sum {
		return false, nil
	}
	h := header{kind: kind, version: version, saved: time.Now().UTC().Truncate(time.Millisecond)}
	text := h.seal(body)
	if len(text) > maxFile {
		return false, fmt.Errorf("save %s: %d bytes are more than the %d a state file may have", kind, len(text), maxFile)
	}
	next := uint64(1)
	if len(numbers) > 0 {
		next = numbers[0] + 1
	}
	if err := write(s.file(kind, next), text); err != nil {
		return false, fmt.Errorf("save %s: %w", kind, err)
	}
	s.last[kind] = sum
	// The new generation stands; one too many is no reason to fail.
	if len(numbers) >= generations {
		for _, n := range numbers[generations-1:] {
			_ = os.Remove(s.file(kind, n))
		}
	}
	return true, nil
}

// newest gives the sum of the newest body of a kind. The first save after a
// start reads it from disk: else a few restarts with one and the same
// configuration would push every other generation out.
func (s *Store) newest(kind string, numbers []uint64) checksum {
	if _, known := s.last[kind]; !known && len(numbers) > 0 {
		if h, body, err := s.read(kind, numbers[0]); err == nil {
			s.last[kind] = bodySum(h.version, body)
		}
	}
	return s.last[kind]
}

// load finds the newest generation of a kind that is whole and that use
// accepts. Damaged ones are passed over and told of in Found; one of an
// unknown version ends the search with [ErrVersion]. With no generation at all
// the error is [fs.ErrNotExist]. The caller holds s.mu.
func (s *Store) load(kind string, version int, use func(body []byte) error) (Found, error) {
	var found Found
	numbers, err := s.numbers(kind)
	if err != nil {
		return found, fmt.Errorf("load %s: %w", kind, err)
	}
	if len(numbers) == 0 {
		return found, fmt.Errorf("load %s: nothing was saved in %s: %w", kind, s.dir, fs.ErrNotExist)
	}
	for _, n := range numbers {
		h, body, err := s.read(kind, n)
		if err == nil && h.version != version {
			return found, fmt.Errorf("load %s: %s is version %d: %w", kind, s.file(kind, n), h.version, ErrVersion)
		}
		if err == nil {
			err = use(body)
		}
		if err != nil {
			found.PassedOver = append(found.PassedOver, fmt.Errorf("%s passed over: %w", s.file(kind, n), err))
			continue
		}
		found.Generation, found.Saved = n, h.saved
		return found, nil
	}
	return found, fmt.Errorf("load %s: no generation can be used: %w", kind, errors.Join(found.PassedOver...))
}

func (s *Store) file(kind string, n uint64) string {
	return filepath.Join(s.dir, kind+"."+strconv.FormatUint(n, 10))
}

// read gives one generation, checked.
func (s *Store) read(kind string, n uint64) (header, []byte, error) {
	text, err := readBounded(s.file(kind, n), maxFile)
	if err != nil {
		return header{}, nil, err
	}
	h, body, err := open(text)
	if err == nil && h.kind != kind {
		err = fmt.Errorf("holds %q", h.kind)
	}
	return h, body, err
}

// numbers lists the generations of a kind, newest first. Names that we would
// not write are not ours.
func (s *Store) numbers(kind string) ([]uint64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), kind+".")
		if !ok || len(text) > 15 || text == "" || text[0] == '0' {
			continue
		}
		if n, err := strconv.ParseUint(text, 10, 64); err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	slices.Reverse(numbers)
	return numbers, nil
}

// checksum is SHA-256 in hexadecimal: against damage, not against an attacker
// who can write the folder.
type checksum string

func sumOf(parts ...[]byte) checksum {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return checksum(hex.EncodeToString(h.Sum(nil)))
}

// bodySum tells bodies apart that were written at different times.
func bodySum(version int, body []byte) checksum {
	return sumOf(strconv.AppendInt(nil, int64(version), 10), body)
}

// header is the first line of a state file:
//
//	portolan-state KIND VERSION TIME CHECKSUM
//
// The checksum covers the rest of the line and everything after it.
type header struct {
	kind    string
	version int
	saved   time.Time
}

const magic = "portolan-state"

func (h header) seal(body []byte) []byte {
	front := fmt.Sprintf("%s %s %d %s ", magic, h.kind, h.version, h.saved.Format(time.RFC3339Nano))
	return slices.Concat([]byte(front), []byte(sumOf([]byte(front), body)), []byte("\n"), body)
}

var headLine = regexp.MustCompile(`^(` + magic + ` ([a-z-]+) ([0-9]{1,9}) (\S{1,40}) )([0-9a-f]{64})\n`)

// open takes a state file apart; any damage is an error.
func open(text []byte) (header, []byte, error) {
	m := headLine.FindSubmatch(text[:min(len(text), 256)])
	if m == nil {
		return header{}, nil, errors.New("does not begin with a whole " + magic + " line")
	}
	body := text[len(m[0]):]
	if got := sumOf(m[1], body); got != checksum(m[5]) {
		return header{}, nil, errors.New("its checksum does not match: torn or damaged")
	}
	version, err := strconv.Atoi(string(m[3]))
	if err != nil {
		return header{}, nil, fmt.Errorf("version: %w", err)
	}
	saved, err := time.Parse(time.RFC3339Nano, string(m[4]))
	if err != nil {
		return header{}, nil, fmt.Errorf("time: %w", err)
	}
	return header{kind: string(m[2]), version: version, saved: saved}, body, nil
}
