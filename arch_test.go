package portolan_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/portolan-lb/portolan/"

// floors is the house: a package imports only packages of lower floors, and
// of its own top folder. A folder's subfolders stand on its floor.
var floors = []string{
	0: "config status busy",
	1: "pick probe sticky store kernel",
	2: "link topology flow doctor slots",
	3: "proximity traffic",
	4: "dnsserver dnsproxy outbound slb",
	5: "api",
	6: "daemon convert",
	7: "demo",
	8: "cmd deploy",
}

// testsOnly are folders that stand on no floor: no product code imports them.
var testsOnly = []string{"nettest"}

// doors says which folders may import a stranger.
var doors = map[string]string{
	"go.etcd.io/":                    "store",
	"github.com/vishvananda/netlink": "kernel",
	"github.com/google/nftables":     "kernel",
	"github.com/ti-mo/conntrack":     "kernel",
	"github.com/gosnmp/gosnmp":       "link",
	"github.com/spf13/cobra":         "cmd/portolan",
	"github.com/miekg/dns":           "dnsserver dnsproxy probe convert",
	"github.com/prometheus/":         "api",
}

// source is one Go file of this repository.
type source struct {
	path string // slash-separated, relative to the root
	file *ast.File
	set  *token.FileSet
}

func (s source) dir() string { return path.Dir(s.path) }
func (s source) test() bool  { return strings.HasSuffix(s.path, "_test.go") }

func TestImportsGoDown(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		for _, spec := range s.file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			if why := forbidden(s.dir(), imported); why != "" {
				t.Errorf("%s imports %s: %s", s.path, imported, why)
			}
		}
	}
}

func TestEveryPackageStandsOnAFloor(t *testing.T) {
	for _, s := range sources(t) {
		if top := topFolder(s.dir()); s.dir() != "." && floorOf(top) < 0 && !slices.Contains(testsOnly, top) {
			t.Errorf("%s: folder %s stands on no floor of arch_test.go", s.path, top)
		}
		if s.dir() == "." && !s.test() {
			t.Errorf("%s: the root holds no code but tests", s.path)
		}
	}
}

// TestForbidden holds the rule itself to account: a check that lets everything
// pass would look the same as a clean house.
func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		dir, imported string
		bad           bool
	}{
		{"pick", module + "status", false},
		{"pick", module + "topology", true}, // upward
		{"pick", module + "probe", true},    // sideways
		{"api/client", module + "api", false},
		{"slb/l4", module + "slb/l7", false},
		{"dnsserver", module + "slb/l4", true},
		{"demo", module + "nettest", true},
		{"daemon", module + "nowhere", true},
		{"store", "go.etcd.io/etcd/client/v3", false},
		{"daemon", "go.etcd.io/etcd/client/v3", true},
		{"probe", "github.com/miekg/dns", false},
		{"demo", "github.com/miekg/dns", true},
		{"probe", "github.com/prometheus-community/pro-bing", false},
		{"dnsserver", "github.com/prometheus/client_golang/prometheus", true},
		{"cmd/portolan", "github.com/spf13/cobra", false},
		{"cmd/other", "github.com/spf13/cobra", true},
		{"status", "sync/atomic", false},
	} {
		if why := forbidden(c.dir, c.imported); (why != "") != c.bad {
			t.Errorf("%s imports %s: got %q, want bad=%v", c.dir, c.imported, why, c.bad)
		}
	}
}

func TestPackageComments(t *testing.T) {
	comments := map[string][]string{}
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		if _, ok := comments[s.dir()]; !ok {
			comments[s.dir()] = nil
		}
		if s.file.Doc != nil {
			comments[s.dir()] = append(comments[s.dir()], path.Base(s.path))
		}
	}
	for dir, files := range comments {
		if len(files) != 1 || files[0] != "doc.go" && files[0] != "main.go" {
			t.Errorf("%s: want one package comment, in doc.go or main.go; it is in %v", dir, files)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		if n := s.set.File(s.file.Pos()).LineCount(); n > 500 {
			t.Errorf("%s has %d lines; 500 is the bound", s.path, n)
		}
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.set.Position(f.End()).Line - s.set.Position(f.Pos()).Line + 1; n > 90 {
				t.Errorf("%s: %s has %d lines; 90 is the bound", s.path, f.Name.Name, n)
			}
		}
	}
}

// forbidden says why a package in dir may not import another; empty if it may.
func forbidden(dir, imported string) string {
	if own, ok := strings.CutPrefix(imported, module); ok {
		from, to := topFolder(dir), topFolder(own)
		switch {
		case from == to || slices.Contains(testsOnly, from):
			return ""
		case slices.Contains(testsOnly, to):
			return "only tests may"
		case floorOf(to) < 0:
			return "it stands on no floor"
		case floorOf(to) >= floorOf(from):
			return "imports go down, never up or sideways"
		}
		return ""
	}
	for stranger, door := range doors {
		if strings.HasPrefix(imported, stranger) && !behind(dir, door) {
			return "its door is " + door
		}
	}
	return ""
}

// behind says whether dir is one of the folders of a door, or inside one.
func behind(dir, door string) bool {
	return slices.ContainsFunc(strings.Fields(door), func(d string) bool {
		return dir == d || strings.HasPrefix(dir, d+"/")
	})
}

func topFolder(dir string) string {
	top, _, _ := strings.Cut(dir, "/")
	return top
}

// floorOf gives the floor of a top folder, or -1.
func floorOf(top string) int {
	return slices.IndexFunc(floors, func(folders string) bool {
		return slices.Contains(strings.Fields(folders), top)
	})
}

// sources parses every Go file of the repository.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); base != "." && (base == "testdata" || base[0] == '.' || base[0] == '_') {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(name), file, set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("found no Go files")
	}
	return all
}
