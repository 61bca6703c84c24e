package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// write puts a file in place whole or not at all: temporary file in the same
// folder, fsync, rename, fsync of the folder. What stood there before stays
// when it fails, and no temporary file is left.
func write(name string, text []byte) error {
	dir := filepath.Dir(name)
	// Without WithTempDir renameio would first try $TMPDIR.
	if err := renameio.WriteFile(name, text, fileMode, renameio.WithTempDir(dir)); err != nil {
		return err
	}
	return syncFolder(dir)
}

// syncFolder makes a rename outlive a loss of power.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readBounded reads a file of at most limit bytes.
func readBounded(name string, limit int64) (text []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		return nil, fmt.Errorf("has more than %d bytes", limit)
	}
	return text, err
}
