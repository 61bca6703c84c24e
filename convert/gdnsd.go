package convert

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/portolan-lb/portolan/config"
)

// Result is a converted configuration.
type Result struct {
	Config []byte            // the YAML, which refers to Files
	Files  map[string][]byte // by path, relative to the YAML: zone files and lists of prefixes
	Report Report
	Zones  int // for a summary
	Names  int // bound to pools
	Pools  int
}

// ConfigName is the file name of the YAML beside Files.
const ConfigName = "portolan.yaml"

// GDNSD converts the configuration folder of a gdnsd 3: src.Dir with the files
// config, zones/ and geoip/. It reads through src and changes nothing. The
// error says with file:line:col what could not be read; everything that was
// read and could not be taken over is in the report.
//
// What gdnsd's words mean is taken from its manual pages: gdnsd.config(5),
// gdnsd.zonefile(5) and gdnsd-plugin-*(8).
func GDNSD(src config.Source) (*Result, error) {
	root, err := readRoot(src)
	if err != nil {
		return nil, err
	}
	g := newGdnsd(src, root)
	g.readRoot()
	g.readOptions()
	g.readServices()
	g.readPlugins()
	if err := g.readZones(); err != nil {
		return nil, err
	}
	g.allResources()
	g.unusedServices()
	g.finishMaps()
	return g.result(), nil
}

// readRoot reads the file config. A gdnsd without one runs on defaults.
func readRoot(src config.Source) (*node, error) {
	info, err := fs.Stat(src.FS, src.Path("."))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: cannot read it: %w", src.Show("."), reason(err))
	case !info.IsDir():
		return nil, fmt.Errorf("%s: is not a folder; gdnsd's configuration is a folder with the files config and zones/", src.Show("."))
	}
	if _, err := fs.Stat(src.FS, src.Path("config")); errors.Is(err, fs.ErrNotExist) {
		if info, err := fs.Stat(src.FS, src.Path("zones")); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("%s: holds neither config nor zones/: it is not a configuration of gdnsd", src.Show("."))
		}
		return &node{pos: config.Pos{File: src.Show("config")}, kind: hash}, nil
	}
	root, err := newVscf(src).read("config")
	if err != nil {
		return nil, err
	}
	if root.kind != hash {
		return nil, &config.Error{Pos: root.pos, Text: "is an array; the keys options, service_types and plugins belong here"}
	}
	return root, nil
}

// gdnsd is one conversion.
type gdnsd struct {
	src    config.Source
	root   *node
	report Report
	names  map[string]names // of each kind of noun of ours

	opts     options
	dns      mapping
	services map[string]*service
	probes   blocks
	maps     map[string]*geoMap
	sites    lines
	regions  blocks
	isps     blocks
	rules    lines
	geo      []string // databases

	built map[resourceKey]*shape // resources that have been converted
	open  []resourceKey          // those that are being converted
	pools blocks

	zones    blocks
	files    map[string][]byte
	bound    int
	recorded map[string]bool // static resources that are records of a zone
}

func newGdnsd(src config.Source, root *node) *gdnsd {
	return &gdnsd{src: src, root: root, names: map[string]names{}, services: map[string]*service{},
		maps: map[string]*geoMap{}, built: map[resourceKey]*shape{}, files: map[string][]byte{}, recorded: map[string]bool{}}
}

func (g *gdnsd) lost(at config.Pos, what, why, do string) { g.item(Lost, at, what, why, do) }

func (g *gdnsd) differs(at config.Pos, what, why, do string) { g.item(Differs, at, what, why, do) }

func (g *gdnsd) note(at config.Pos, what, why, do string) { g.item(Note, at, what, why, do) }

func (g *gdnsd) item(k Kind, at config.Pos, what, why, do string) {
	g.report = append(g.report, Item{Kind: k, Place: at, What: what, Why: why, Do: do})
}

// readRoot looks at the three keys that there are.
func (g *gdnsd) readRoot() {
	for _, p := range g.root.pairs {
		switch p.key {
		case "options", "service_types", "plugins":
			if p.value.kind != hash {
				g.lost(p.pos, p.key, "is "+kindNames[p.value.kind]+"; gdnsd wants a hash", "")
			}
		default:
			g.lost(p.pos, p.key, "gdnsd has no such key", "")
		}
	}
}

// result puts everything together.
func (g *gdnsd) result() *Result {
	doc := mapping{
		{"version", 1},
		{"dns", g.dns},
		{"zones", g.zones},
		{"pools", g.pools},
		{"sites", g.sites},
		{"probes", g.probes},
	}
	if len(g.geo) > 0 {
		doc = append(doc, entry{"geo", mapping{{"databases", words(g.geo)}}})
	}
	doc = append(doc, entry{"isps", g.isps}, entry{"regions", g.regions}, entry{"topology", g.rules})
	head := "Converted from the gdnsd configuration in " + g.src.Show(".") + "."
	return &Result{
		Config: document(comment(head)[3:], doc), Files: g.files, Report: g.report.sorted(),
		Zones: len(g.zones), Names: g.bound, Pools: len(g.pools),
	}
}

// origin names where something comes from, for comments: file:line, the file
// relative to gdnsd's folder.
func (g *gdnsd) origin(at config.Pos) string {
	file := strings.TrimPrefix(at.File, g.src.Show(".")+"/")
	return fmt.Sprintf("%s:%d", file, at.Line)
}

// absolute gives a file of the geoip folder, or one named by its whole path.
func (g *gdnsd) absolute(folder, name string) string {
	if path.IsAbs(name) {
		return name
	}
	return path.Join(folder, name)
}
