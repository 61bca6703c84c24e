package daemon

import (
	"io/fs"
)

// Lstat and ReadLink implement [fs.ReadLinkFS], by which includes of zone files
// are held to their folder. The folders that the upper file system implies say
// nothing of those below, which may be links.
func (l layered) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(l.holding(name), name) }

// ReadLink gives where a symbolic link leads.
func (l layered) ReadLink(name string) (string, error) { return fs.ReadLink(l.holding(name), name) }

// holding gives the file system whose file the name is.
func (l layered) holding(name string) fs.FS {
	if info, err := fs.Lstat(l.over, name); err == nil && !info.IsDir() {
		return l.over
	}
	return l.under
}
