package daemon

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsproxy"
	"github.com/portolan-lb/portolan/dnsserver"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/store"
	"github.com/portolan-lb/portolan/topology"
)

// Built is a configuration made into tables, not yet in use.
type Built struct {
	Model    *config.Model
	Topology *topology.Table
	DNS      *dnsserver.Table
	Plan     probe.Plan
	Outbound *outbound.Plan // nil: nothing is balanced
	SLB      *l4.Plan       // nil: nothing is served
	Proxy    *dnsproxy.Plan
	Numbers  map[string]uint16 // of links in marks of connections
	Serving  l4.Numbers        // of what is served
	Revision string            // names the content of the files; see [store.Bundle.Revision]

	carried   func(link uint16) bool                      // whether a connection has the number of a link; nil: none has
	held      func(l4.Numbers) func(l4.Kind, uint32) bool // whether connections or entries hold a number; nil: none does
	geography [sha256.Size]byte                           // of all that Topology depends on
	files     *store.Recorder                             // what it was made from

	folder   *dnsserver.Folder // of zones that are served without a configuration; else nil
	settings *dnsserver.Table  // then: the table without the folder's zones
}

// bundle gives the files that it was made from, geo databases included: a torn
// one must not stop the next start. It is empty after forget.
func (b *Built) bundle() store.Bundle {
	src := b.Model.Source()
	return store.Bundle{Files: b.files.Files(), Dir: src.Dir, Name: src.Name, Shown: src.Shown}
}

// forget lets go of the files' contents, which may be many megabytes.
func (b *Built) forget() { b.files.Forget() }

// SourceOf gives the source of a configuration on disk, a file or a folder. A
// folder's relative references start from it, a file's from where it stands.
// The disk is read when the source is.
func SourceOf(path string) (config.Source, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return config.Source{}, fmt.Errorf("config %s: %w", path, err)
	}
	dir, name, shown := filepath.Dir(abs), filepath.Base(abs), filepath.Dir(path)
	if info, err := os.Stat(abs); err == nil && info.IsDir() {
		dir, name, shown = abs, ".", path
	}
	if shown == "." {
		shown = ""
	}
	return config.Source{FS: os.DirFS("/"), Dir: strings.TrimPrefix(dir, "/"), Name: name, Shown: shown}, nil
}

// Build makes everything from a configuration and changes nothing. before,
// which may be nil, is what runs now: unchanged zones and tables are taken
// over from it. lastGood, which may be nil, is where earlier versions of bad
// zone files are found.
//
// The result is nil when the configuration cannot be used. A bad zone file
// alone gives both a result, in which that zone is as it was, and errors.
func Build(src config.Source, before *Built, lastGood *config.Source) (*Built, config.Errors) {
	files := store.Record(src.FS)
	src.FS = files
	m, errs := config.Load(src)
	if m == nil {
		return nil, errs
	}
	b := &Built{Model: m, files: files}
	for _, ref := range append(m.Files(), m.Geo.Databases...) {
		_, _ = src.ReadFile(ref) // for the bundle; whoever needs the file reports what is wrong with it
	}
	errs = append(errs, b.setTopology(src, before)...)
	if b.Topology == nil {
		return nil, errs
	}
	in := dnsserver.Inputs{Model: m, Source: src, Topology: b.Topology, LastGood: lastGood}
	if before != nil {
		in.Before = before.DNS
	}
	table, found := dnsserver.Compile(in)
	errs = append(errs, found...)
	if table == nil {
		return nil, errs
	}
	b.DNS = table
	for _, found := range []config.Errors{b.setOutbound(before), b.setSLB(before), b.setProxy(src, before)} {
		errs = append(errs, found...)
		if found.Failed() {
			return nil, errs
		}
	}
	b.Plan = probe.Compile(m)
	b.Revision = b.bundle().Revision()
	return b, errs
}

// setTopology compiles the topology, unless all that it depends on is as it
// was: databases of the whole Internet take seconds.
func (b *Built) setTopology(src config.Source, before *Built) config.Errors {
	b.geography = fingerprint(b.Model, src)
	if before != nil && before.geography == b.geography {
		b.Topology = before.Topology
		return nil
	}
	t, errs := topology.Compile(b.Model, src)
	if errs.Failed() {
		return errs
	}
	b.Topology = t
	return errs
}

// fingerprint sums up what a topology is compiled from.
func fingerprint(m *config.Model, src config.Source) [sha256.Size]byte {
	type file struct {
		Ref string
		Sum [sha256.Size]byte
	}
	all := struct {
		Geo     config.Geo
		ISPs    []*config.ISP
		Regions []*config.Region
		Rules   []*config.TopologyRule
		Places  []config.Pos
		Files   []file
	}{Geo: m.Geo, ISPs: m.ISPs, Regions: m.Regions, Rules: m.Topology}
	for _, r := range m.Topology {
		all.Places = append(all.Places, r.Pos) // explain names them
	}
	refs := slices.Clone(m.Geo.Databases)
	for _, isp := range m.ISPs {
		if isp.PrefixFile != "" {
			refs = append(refs, isp.PrefixFile)
		}
	}
	for _, ref := range refs {
		f := file{Ref: ref}
		if text, err := src.ReadFile(ref); err == nil {
			f.Sum = sha256.Sum256(text)
		}
		all.Files = append(all.Files, f)
	}
	text, err := json.Marshal(all)
	if err != nil { // plain structs always marshal
		panic(err)
	}
	return sha256.Sum256(text)
}

// Query is a question to explain against a [Built] or a running server.
type Query struct {
	Name   string
	Type   string
	Client netip.Addr
	ECS    netip.Prefix
	Down   []status.ID // as if these rows were down
}

// Explain tells how a question is answered with the rows and live numbers as
// they stand; gauges may be nil. A row to be taken as down must be one of the
// configuration's.
func (b *Built) Explain(rows *status.Table, gauges *status.Gauges, q Query) (*dnsserver.Explanation, error) {
	ask := dnsserver.Ask{Name: q.Name, Type: strings.ToUpper(q.Type), Client: q.Client, ECS: q.ECS, At: time.Now(), Gauges: gauges}
	for _, id := range q.Down {
		if !b.hasRow(id) {
			return nil, fmt.Errorf("no row %q: rows are named kind/name, such as virtualServer/web, link/telecom, site/east", id)
		}
		row := *rows.Row(id) // a hold on it stays in force
		row.ID, row.Health, row.Waiting, row.Why, row.Since = id, status.Down, false, "assumed to be down", ask.At
		ask.Assume = append(ask.Assume, row)
	}
	return b.DNS.Explain(rows, ask)
}

func (b *Built) hasRow(id status.ID) bool {
	return slices.ContainsFunc(b.Plan.Verdicts, func(v probe.Verdict) bool { return v.ID == id }) ||
		slices.Contains(b.served(), id) ||
		slices.ContainsFunc(b.Model.Links, func(l *config.Link) bool {
			return l.Interface != "" && status.MakeID(status.KindInterface, l.Interface) == id
		})
}

// served lists the rows of what server load balancing judges.
func (b *Built) served() (ids []status.ID) {
	if !b.Model.Serves() {
		return nil
	}
	for _, v := range b.Model.VirtualServers {
		if v.Served() {
			ids = append(ids, status.MakeID(status.KindVirtualServer, v.Name))
		}
	}
	for _, f := range b.Model.ServerFarms {
		ids = append(ids, status.MakeID(status.KindServerFarm, f.Name))
	}
	return ids
}

// Rows is the status of a configuration that nothing has probed yet: every row
// is there, unknown and usable (C1). It serves what is asked offline.
func (b *Built) Rows() *status.Table {
	board := status.NewBoard(1)
	var rows []status.Row
	for _, v := range b.Plan.Verdicts {
		row := status.Row{ID: v.ID, Why: "not probed: this is an offline question"}
		if v.Missing && v.ID.Kind() == status.KindVirtualServer { // switched off, whoever asks
			row.Health, row.Why = status.Down, v.Note
		}
		rows = append(rows, row)
	}
	for _, id := range b.served() {
		rows = append(rows, status.Row{ID: id, Why: "its health is that of its farm; not served: this is an offline question"})
	}
	board.Update(rows...)
	return board.Table()
}

// errNothingGood says that there is neither a good configuration nor a kept one.
var errNothingGood = errors.New("the configuration is bad and no last good one is kept")
