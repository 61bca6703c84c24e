package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/portolan-lb/portolan/config"
)

// Bundle is a configuration with every file that it refers to, by path in the
// file system it was read from: enough to compile it again when the files are
// gone or bad.
type Bundle struct {
	Files            map[string][]byte
	Dir, Name, Shown string // as in [config.Source]
}

const (
	kindConfig    = "config"
	configVersion = 1
	maxFiles      = 100_000
	maxBundle     = 512 << 20 // bytes of all files together
)

// Source reads the configuration from the bundle as if the files were still
// there.
func (b Bundle) Source() config.Source {
	return config.Source{FS: b.FS(), Dir: b.Dir, Name: b.Name, Shown: b.Shown}
}

// FS gives the files as a file system with the folders that their paths imply.
func (b Bundle) FS() fs.FS { return newMemory(b.Files) }

// Revision names the content: the same for the same files, whenever and
// wherever they were read. 12 hexadecimal digits.
func (b Bundle) Revision() string {
	text, err := json.Marshal(b.tree())
	if err != nil {
		// Strings and a map of strings: json has no way to fail on them.
		panic("store: " + err.Error())
	}
	return string(sumOf(text))[:12]
}

// tree is what the config file of a generation says: names, and by which
// checksum each one's content is kept.
type tree struct {
	Dir   string              `json:"dir"`
	Name  string              `json:"name"`
	Shown string              `json:"shown"`
	Files map[string]checksum `json:"files"`
}

func (b Bundle) tree() tree {
	t := tree{b.Dir, b.Name, b.Shown, make(map[string]checksum, len(b.Files))}
	for path, text := range b.Files {
		t.Files[path] = sumOf(text)
	}
	return t
}

func (b Bundle) check() error {
	if len(b.Files) == 0 || len(b.Files) > maxFiles {
		return fmt.Errorf("%d files; from 1 to %d can be kept", len(b.Files), maxFiles)
	}
	size := 0
	for path, text := range b.Files {
		if !fs.ValidPath(path) || path == "." {
			return fmt.Errorf("%q is not a path within a file system", path)
		}
		if size += len(text); size > maxBundle {
			return fmt.Errorf("more than the %d bytes that can be kept", maxBundle)
		}
	}
	return nil
}

// SaveConfig keeps b as the last good configuration, unless it equals the
// newest. Contents are written first and the tree that names them last, so a
// generation is complete or is not there.
func (s *Store) SaveConfig(b Bundle) error {
	if err := b.check(); err != nil {
		return fmt.Errorf("save configuration: %w", err)
	}
	t := b.tree()
	body, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("save configuration: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, text := range b.Files {
		if err := s.saveBlob(t.Files[path], text); err != nil {
			return errors.Join(fmt.Errorf("save configuration: %s: %w", path, err), s.dropBlobs())
		}
	}
	wrote, err := s.save(kindConfig, configVersion, body)
	if wrote || err != nil {
		err = errors.Join(err, s.dropBlobs())
	}
	return err
}

// LastGood gives the newest configuration that is complete and undamaged. The
// error is [fs.ErrNotExist] when none was saved and [ErrVersion] when a newer
// portolan saved it.
func (s *Store) LastGood() (Bundle, Found, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b Bundle
	found, err := s.load(kindConfig, configVersion, func(body []byte) error {
		fresh, err := s.bundle(body)
		if err == nil {
			b = fresh
		}
		return err
	})
	return b, found, err
}

// bundle gathers the contents that a tree names.
func (s *Store) bundle(body []byte) (Bundle, error) {
	var t tree
	if err := json.Unmarshal(body, &t); err != nil {
		return Bundle{}, err
	}
	b := Bundle{make(map[string][]byte, len(t.Files)), t.Dir, t.Name, t.Shown}
	for path, sum := range t.Files {
		text, err := s.loadBlob(sum)
		if err != nil {
			return Bundle{}, fmt.Errorf("content of %s: %w", path, err)
		}
		b.Files[path] = text
	}
	return b, b.check()
}

func (s *Store) blob(sum checksum) string { return filepath.Join(s.dir, blobFolder, string(sum)) }

// saveBlob keeps one content. One that is there already is read, not trusted:
// a damaged one is written again.
func (s *Store) saveBlob(sum checksum, text []byte) error {
	if _, err := s.loadBlob(sum); err == nil {
		return nil
	}
	return write(s.blob(sum), text)
}

func (s *Store) loadBlob(sum checksum) ([]byte, error) {
	if !blobName.MatchString(string(sum)) {
		return nil, fmt.Errorf("%q is not a checksum", sum)
	}
	text, err := readBounded(s.blob(sum), maxBundle)
	if err == nil && sumOf(text) != sum {
		err = errors.New("its checksum does not match: torn or damaged")
	}
	return text, err
}

// dropBlobs removes contents that no kept generation names.
func (s *Store) dropBlobs() error {
	numbers, err := s.numbers(kindConfig)
	if err != nil {
		return err
	}
	named := map[checksum]bool{}
	for _, n := range numbers {
		// What a damaged or foreign tree names cannot be known, nor used.
		if _, body, err := s.read(kindConfig, n); err == nil {
			var t tree
			if json.Unmarshal(body, &t) == nil {
				for _, sum := range t.Files {
					named[sum] = true
				}
			}
		}
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, blobFolder))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if sum := checksum(e.Name()); blobName.MatchString(e.Name()) && !named[sum] {
			err = errors.Join(err, os.Remove(s.blob(sum)))
		}
	}
	return err
}
