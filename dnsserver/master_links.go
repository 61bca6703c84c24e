package dnsserver

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/portolan-lb/portolan/config"
)

const maxLinks = 40 // symbolic links on the way to one file, as Linux has it

// outside says why the file that a reference leads to, links followed, is not
// in a folder, links followed too; or nothing. Whoever may write a zone's file
// must not make us read, and quote in errors, what they may not read.
//
// What does not exist is inside: reading it will say so. The check is as good
// as the file system: one without links ([fs.ReadLinkFS]) has nowhere to lead.
func outside(src config.Source, ref, folder string) string {
	real, err := resolve(src.FS, src.Path(ref))
	if err != nil {
		return err.Error()
	}
	home, err := resolve(src.FS, src.Path(folder))
	if err != nil {
		return err.Error()
	}
	if home != "." && !strings.HasPrefix(real, home+"/") {
		return "leads out of the zone's folder " + src.Show(folder) + " by a symbolic link"
	}
	return ""
}

// resolve gives the path of a file without links. Absolute links start from
// the root of the file system, as absolute references do.
func resolve(files fs.FS, name string) (string, error) {
	done, rest := ".", name
	for links := 0; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		if part == ".." {
			done = path.Join("/", done, "..")[1:] // the root is above itself
			continue
		}
		next := path.Join(done, part)
		info, err := fs.Lstat(files, next)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			done = next // what is missing is told by whoever opens it
			continue
		}
		target, err := fs.ReadLink(files, next)
		if err != nil {
			return "", fmt.Errorf("a symbolic link cannot be read: %w", reason(err))
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("leads over more than %d symbolic links", maxLinks)
		}
		if path.IsAbs(target) {
			done, target = ".", strings.TrimLeft(target, "/")
		}
		rest = strings.Trim(target+"/"+rest, "/")
	}
	return path.Join(".", done), nil
}
