package dnsserver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/store"
)

// disk makes a tree: "name -> target" is a link, ROOT in a target the tree's
// own root.
func disk(t *testing.T, files map[string]string, links ...string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range links {
		name, target, _ := strings.Cut(link, " -> ")
		if err := os.Symlink(strings.ReplaceAll(target, "ROOT", root), filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// An include that leaves the zone's folder by a link is refused, and nothing
// of what it leads to is in the errors.
func TestParseZone_IncludeLinks(t *testing.T) {
	files := map[string]string{
		"etc/zones/main": zoneHead + "$INCLUDE sub/more\n", "etc/zones/sub/here": "a A 192.0.2.9\n", "etc/zones/v1/data": "a A 192.0.2.9\n",
		"etc/secret": "root:x:hunter2\n", "else/more": "root:x:hunter2\n",
	}
	const left = "etc/zones/main:5:1: $INCLUDE sub/more: leads out of the zone's folder etc/zones by a symbolic link"
	tests := []struct {
		name  string
		links []string
		want  string
	}{
		{"a link in the folder", []string{"etc/zones/sub/more -> here"}, "a.example.com. 300"},
		{"up and down again", []string{"etc/zones/sub/more -> ../v1/../v1/data"}, "a.example.com. 300"},
		{"folders swapped by a link, as Kubernetes does", []string{"etc/zones/data -> v1", "etc/zones/sub/more -> ../data/data"}, "a.example.com. 300"},
		{"absolute, but inside", []string{"etc/zones/sub/more -> ROOT/etc/zones/sub/here"}, "a.example.com. 300"},
		{"up", []string{"etc/zones/sub/more -> ../../secret"}, left},
		{"absolute", []string{"etc/zones/sub/more -> ROOT/etc/secret"}, left},
		{"over a link inside", []string{"etc/zones/x -> ROOT/etc/secret", "etc/zones/sub/more -> ../x"}, left},
		{"far up", []string{"etc/zones/sub/more -> ../../../../../../../../../../../../../etc/passwd"}, left},
		{"a name that begins like the folder's", []string{"etc/zones2 -> ROOT/else", "etc/zones/sub/more -> ../../zones2/more"}, left},
		{"a ring", []string{"etc/zones/sub/more -> more"}, "etc/zones/main:5:1: $INCLUDE sub/more: leads over more than 40 symbolic links"},
		{"nowhere", []string{"etc/zones/sub/more -> nothing"}, "etc/zones/main:5:1: zone example.com.: cannot read etc/zones/sub/more: no such file or directory"},
	}
	for _, test := range tests {
		root := disk(t, files, test.links...)
		for _, src := range []config.Source{
			{FS: os.DirFS("/"), Dir: strings.TrimPrefix(root, "/") + "/etc", Shown: "etc"},
			{FS: store.Record(os.DirFS("/")), Dir: strings.TrimPrefix(root, "/") + "/etc", Shown: "etc"},
		} {
			z, errs := ParseZone(src, &config.Zone{Name: "example.com.", File: "zones/main"})
			got := listed(errs)
			if z != nil {
				got = namesWithTTL(z)
			}
			if got != test.want || strings.Contains(got, "hunter2") {
				t.Errorf("%s, %T:\n got %s\nwant %s", test.name, src.FS, got, test.want)
			}
		}
	}
}

// The folder of the zones may itself be a link, and so may a folder in it.
func TestParseZone_IncludeLinkedFolder(t *testing.T) {
	files := map[string]string{"srv/zones/main": zoneHead + "$INCLUDE more\n$INCLUDE sub/other\n", "srv/zones/more": "a A 192.0.2.9\n", "else/other": "hunter2\n"}
	root := disk(t, files, "zones -> srv/zones", "srv/zones/sub -> ROOT/else")
	src := config.Source{FS: os.DirFS("/"), Dir: strings.TrimPrefix(root, "/")}
	_, errs := ParseZone(src, &config.Zone{Name: "example.com.", File: "zones/main"})
	if got, want := listed(errs), "zones/main:6:1: $INCLUDE sub/other: leads out of the zone's folder zones by a symbolic link"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
