package convert

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/daemon"
)

var update = flag.Bool("update", false, "rewrite what is expected in testdata")

// disk is a file system with gdnsd's folder in etc/gdnsd and databases that
// tests can name.
func disk(tb testing.TB, files map[string][]byte) (fstest.MapFS, config.Source) {
	all := fstest.MapFS{
		"etc/gdnsd/geoip/city.mmdb":    {Data: cityDatabase(tb)},
		"etc/gdnsd/geoip/country.mmdb": {Data: countryDatabase(tb)},
		"etc/gdnsd/geoip/flat.mmdb":    {Data: flatDatabase(tb)},
		"etc/gdnsd/geoip/torn.mmdb":    {Data: []byte("torn")},
	}
	for name, data := range files {
		all["etc/gdnsd/"+name] = &fstest.MapFile{Data: data}
	}
	return all, config.Source{FS: all, Dir: "etc/gdnsd", Name: ".", Shown: "/etc/gdnsd"}
}

// checked puts a conversion on the disk and checks it as portolan check does.
func checked(all fstest.MapFS, r *Result) (*daemon.Built, config.Errors) {
	for name, data := range r.Files {
		all["etc/portolan/"+name] = &fstest.MapFile{Data: data}
	}
	all["etc/portolan/"+ConfigName] = &fstest.MapFile{Data: r.Config}
	return daemon.Build(config.Source{FS: all, Dir: "etc/portolan", Name: ConfigName}, nil, nil)
}

// Each archive of testdata holds a gdnsd folder, in/, and what becomes of it:
// the files of out/, the report, and what check warns of. check refuses none.
func TestGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) < 12 {
		t.Fatal(archives, err)
	}
	for _, file := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { golden(t, file) })
	}
}

func golden(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all, src := disk(t, inputs(archive))
	r, err := GDNSD(src)
	if err != nil {
		t.Fatal(err)
	}
	built, errs := checked(all, r)
	if built == nil || errs.Failed() {
		t.Errorf("check refuses it:\n%s\n%s", errs.Render(), r.Config)
	}
	want := &txtar.Archive{Comment: archive.Comment}
	for _, f := range archive.Files {
		if strings.HasPrefix(f.Name, "in/") {
			want.Files = append(want.Files, f)
		}
	}
	add := func(name string, data []byte) {
		if len(data) > 0 {
			want.Files = append(want.Files, txtar.File{Name: name, Data: data})
		}
	}
	add("report", []byte(r.Report.Text()))
	add("check", []byte(errs.Render()))
	add("out/"+ConfigName, r.Config)
	for _, name := range slices.Sorted(maps.Keys(r.Files)) {
		add("out/"+name, r.Files[name])
	}
	text := txtar.Format(want)
	if *update {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := txtar.Format(archive); !bytes.Equal(got, text) {
		t.Errorf("%s: not what is expected (-update rewrites it); now:\n%s", file, diff(got, text))
	}
	if again, err := GDNSD(src); err != nil || !bytes.Equal(again.Config, r.Config) || again.Report.Text() != r.Report.Text() {
		t.Error("a second conversion gives something else")
	}
}

func inputs(archive *txtar.Archive) map[string][]byte {
	files := map[string][]byte{}
	for _, f := range archive.Files {
		if name, ok := strings.CutPrefix(f.Name, "in/"); ok {
			files[name] = f.Data
		}
	}
	return files
}

// diff gives the first lines that are not equal.
func diff(a, b []byte) string {
	x, y := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i := range x {
		if i >= len(y) || x[i] != y[i] {
			return strings.Join(y[min(i, len(y)):min(i+20, len(y))], "\n")
		}
	}
	return strings.Join(y[len(x):], "\n")
}
