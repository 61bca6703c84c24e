package config

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"
)

// FuzzLoad: no text makes Load panic, hang, or pass without a model, and what
// is reported stays within bounds.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	src := Source{FS: fstest.MapFS{"db.example": {}, "zones/x": {}}, Dir: ".", Name: "c.yaml"}
	kept(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		begin := time.Now()
		m, errs := LoadBytes(text, src)
		if (m == nil) != errs.Failed() {
			t.Fatalf("model %v, errors:\n%s", m, errs.Render())
		}
		if len(errs) > maxErrors+1 {
			t.Fatalf("%d errors", len(errs))
		}
		for _, e := range errs {
			if e.Text == "" || len(e.Text) > 4096 || len(e.Snippet) > 4096 {
				t.Fatalf("error out of bounds: %+v", e)
			}
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Fatalf("took %s for %d bytes", took, len(text))
		}
	})
}
