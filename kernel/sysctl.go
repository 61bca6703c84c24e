package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// space is a network namespace, for what is not done over a socket: files under
// /proc/sys/net are those of the thread that opens them.
type space struct {
	file   *os.File
	number uint64 // of its inode
}

const ownSpace = "/proc/thread-self/ns/net"

// here gives the namespace of the calling thread.
func here() (*space, error) {
	f, err := os.Open(ownSpace)
	if err != nil {
		return nil, err
	}
	number, err := inode(ownSpace)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &space{f, number}, nil
}

func inode(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return st.Ino, err
}

func (s *space) close() {
	if s != nil {
		_ = s.file.Close()
	}
}

// do runs f on a thread of the namespace. In the namespace of the program, as
// always but in tests, that is the caller's.
func (s *space) do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		now, err := inode(ownSpace)
		switch {
		case err != nil:
		case now == s.number:
			err = f()
			runtime.UnlockOSThread()
		default:
			// Not unlocked: a thread that was elsewhere ends with this goroutine.
			if err = unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err == nil {
				err = f()
			}
		}
		done <- err
	}()
	return <-done
}

// path is where a sysctl is: its name may have dots, or slashes if a dot is
// part of it (the interface eth0.100).
func (s *Sysctl) path() (string, error) {
	name := s.Name
	if !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, ".", "/")
	}
	name = strings.TrimPrefix(name, "net/")
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%q is not the name of a sysctl", s.Name)
	}
	return filepath.Join("/proc/sys/net", name), nil
}

// dotted is the name that the sysctl program takes, which swaps the two signs.
func (s *Sysctl) dotted() string {
	name := strings.TrimPrefix(s.Name, "net.")
	if strings.Contains(s.Name, "/") {
		name = strings.NewReplacer("/", ".", ".", "/").Replace(strings.TrimPrefix(s.Name, "net/"))
	}
	return "net." + name
}

// sysctls sets those that differ and may be repaired, and tells of the rest.
func (n *routing) sysctls(wishes []Sysctl) (problems []string) {
	if len(wishes) == 0 {
		return nil
	}
	err := n.space.do(func() error {
		for i := range wishes {
			if err := wishes[i].apply(); err != nil {
				problems = append(problems, err.Error())
			}
		}
		return nil
	})
	if err != nil {
		problems = append(problems, fmt.Sprintf("reading sysctls: %v", err))
	}
	return problems
}

// apply looks at one value, in the namespace of the calling thread.
func (s *Sysctl) apply() error {
	path, err := s.path()
	if err != nil {
		return err
	}
	if len(s.Values) == 0 {
		return fmt.Errorf("sysctl %s: no value is wished for", s.dotted())
	}
	now, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("sysctl %s: this kernel has none", s.dotted())
	}
	if err != nil {
		return fmt.Errorf("sysctl %s: %w", s.dotted(), err)
	}
	is := strings.TrimSpace(string(now))
	if slices.Contains(s.Values, is) {
		return nil
	}
	if !s.Repair {
		return fmt.Errorf("sysctl %s is %s, not %s: %s (sysctl -w %[1]s=%[5]s)", s.dotted(), is, strings.Join(s.Values, " or "), s.Why, s.Values[0])
	}
	if err := os.WriteFile(path, []byte(s.Values[0]), 0); err != nil {
		return fmt.Errorf("sysctl %s is %s and cannot be set to %s: %w", s.dotted(), is, s.Values[0], err)
	}
	return nil
}
