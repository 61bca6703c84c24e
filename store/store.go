package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Store is a state folder that this process alone writes to. Its methods may
// be called from any goroutine; they wait for the disk.
type Store struct {
	dir  string
	lock *os.File

	mu   sync.Mutex          // one reader or writer at a time
	last map[string]checksum // of the newest body of each kind that this process saved or loaded
}

// ErrInUse says that another process has the state folder open.
var ErrInUse = errors.New("in use by another portolan")

// ErrVersion says that a file is whole but of a version that this program does
// not know: it is refused, not guessed at (D3).
var ErrVersion = errors.New("of a version that this portolan does not know")

// blobName is the name of a content: its checksum.
var blobName = regexp.MustCompile(`^[0-9a-f]{64}$`)

const (
	folderMode = 0o750
	fileMode   = 0o640
	lockName   = "lock"
	blobFolder = "blobs"
)

// Open takes the state folder, and makes it if it is not there. It fails with
// [ErrInUse] if another process has it. When it fails for other reasons, such
// as a read-only file system, a server can run without a store: it only
// remembers nothing.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, blobFolder), folderMode); err != nil {
		return nil, fmt.Errorf("state folder %s: %w", dir, err)
	}
	lock, err := takeLock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("state folder %s: %w", dir, err)
	}
	s := &Store{dir: dir, lock: lock, last: map[string]checksum{}}
	if err := s.sweep(); err != nil {
		return nil, errors.Join(fmt.Errorf("state folder %s: %w", dir, err), s.Close())
	}
	return s, nil
}

// Close lets the folder go. The store must not be used any more.
func (s *Store) Close() error { return s.lock.Close() }

// Dir is the folder.
func (s *Store) Dir() string { return s.dir }

// takeLock holds the lock for as long as the file stays open, so that the
// kernel lets it go however the process ends. What the file says is only for
// people.
func takeLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		err := fmt.Errorf("%w%s", ErrInUse, holder(f))
		return nil, errors.Join(err, f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
	}
	if err := errors.Join(f.Truncate(0), writePID(f)); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", name, err), f.Close())
	}
	return f, nil
}

func writePID(f *os.File) error {
	_, err := f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	return err
}

var pid = regexp.MustCompile(`^[0-9]{1,10}\n$`)

// holder names the process that a lock file speaks of, if it speaks.
func holder(f *os.File) string {
	b := make([]byte, 16)
	n, _ := f.ReadAt(b, 0) // a short or empty file just names nobody
	if !pid.Match(b[:n]) {
		return ""
	}
	return " (process " + strings.TrimSpace(string(b[:n])) + ")"
}

// orphan is the name of a temporary file: that of the file it was to become
// between a dot and a random number.
var orphan = regexp.MustCompile(`^\.([a-z][a-z-]*\.[0-9]+|[0-9a-f]{64}[0-9]+)$`)

// sweep removes what a write that was cut off left behind. Only we write here,
// so every such file is an orphan.
func (s *Store) sweep() error {
	for _, dir := range []string{s.dir, filepath.Join(s.dir, blobFolder)} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Type().IsRegular() && orphan.MatchString(e.Name()) {
				if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
