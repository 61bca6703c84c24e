package daemon

import (
	"io/fs"
	"testing"
	"testing/fstest"
)

// Links below are seen through what lies over them, unless a file does.
func TestLayered_Links(t *testing.T) {
	link := &fstest.MapFile{Data: []byte("/elsewhere"), Mode: fs.ModeSymlink | 0o777}
	files := layered{
		over:  fstest.MapFS{"etc/conf": {Data: []byte("new")}, "etc/was": {Data: []byte("new")}},
		under: fstest.MapFS{"etc": link, "zone": link, "etc/was": link},
	}
	for name, want := range map[string]bool{"etc": true, "zone": true, "etc/conf": false, "etc/was": false} {
		info, err := fs.Lstat(files, name)
		if err != nil || (info.Mode()&fs.ModeSymlink != 0) != want {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		if target, err := fs.ReadLink(files, name); (err == nil) != want || want && target != "/elsewhere" {
			t.Errorf("%s leads to %q, %v", name, target, err)
		}
	}
}
