package dnsserver

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/store"
)

const folderZone = "$TTL 60\n@ SOA ns hostmaster %d 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\n"

// folderRig is a folder of zones on disk.
type folderRig struct {
	t   *testing.T
	dir string
	*Folder
}

func newFolderRig(t *testing.T) *folderRig {
	dir := t.TempDir()
	return &folderRig{t, dir, NewFolder(config.Source{FS: os.DirFS("/"), Dir: strings.TrimPrefix(dir, "/"), Name: "."}, config.DefaultLimits())}
}

func (r *folderRig) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// age makes the files look as if they had not changed for an hour. The time of
// the change itself cannot be set, so it is taken out of the stamps.
func (r *folderRig) age() {
	for _, f := range r.files {
		for i := range f.seen {
			f.seen[i].stamp.settled = true
		}
	}
}

func (r *folderRig) look() (FolderCounts, config.Errors) {
	r.t.Helper()
	counts, errs, err := r.Refresh()
	if err != nil {
		r.t.Fatal(err)
	}
	return counts, errs
}

func (r *folderRig) states() string {
	var all []string
	for _, z := range r.Zones() {
		s := z.State()
		word := "ok"
		switch {
		case s.Stale:
			word = "stale"
		case s.Missing:
			word = "missing"
		case s.Twice:
			word = "twice"
		}
		all = append(all, fmt.Sprintf("%s %d %s %s", s.Name, s.Serial, s.File, word))
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

func TestNamesOfFile(t *testing.T) {
	for file, want := range map[string]string{
		"example.com.zone":               "example.com. example.com.zone.",
		"example.com.db":                 "example.com. example.com.db.",
		"example.com.txt":                "example.com. example.com.txt.",
		"db.example.com":                 "example.com. db.example.com.",
		"db.example.com.zone":            "db.example.com. example.com.zone. db.example.com.zone.",
		"example.com":                    "example.com.",
		"Example.COM.zone":               "example.com. example.com.zone.",
		"root.zone":                      ". root.zone.",
		"db.root":                        ". db.root.",
		"root":                           ".",
		"0@25.2.0.192.in-addr.arpa.zone": "0/25.2.0.192.in-addr.arpa. 0/25.2.0.192.in-addr.arpa.zone.",
		"%2Drf.zone":                     "-rf. -rf.zone.",
		"a%2.zone":                       "",
		"a..b.zone":                      "",
		".zone":                          "",
		"*.example.zone":                 "",
	} {
		if got := strings.Join(namesOfFile(file), " "); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

// Whatever a zone is called, its file's name is harmless and gives the zone's
// name again.
func TestZoneFileGivesTheNameBack(t *testing.T) {
	for _, name := range []string{".", "root.", "example.com.", "example.zone.", "db.example.", "-rf.", "$(x).", "/etc/passwd.", "a b.", "x~.", "#x#.",
		`a\.b.example.`, `\000\255.example.`, "%41.example.", "@.example.", "0/25.2.0.192.in-addr.arpa.", "_tcp.example."} {
		apex, err := ZoneName(name)
		if err != nil {
			t.Fatal(err)
		}
		file, ok := store.ZoneFile(apex)
		if !ok || strings.Contains(file, "/") || file[0] == '.' || file[0] == '-' || isLeftover(file, func(string) bool { return true }) {
			t.Errorf("%s is kept in %q", name, file)
		}
		if names := namesOfFile(file); len(names) == 0 || names[0] != apex {
			t.Errorf("%s is kept in %q, which is %q", apex, file, names)
		}
	}
	for _, name := range []string{"../../x", "a..b", "", "*.example", strings.Repeat("a", 64) + ".example"} {
		if got, err := ZoneName(name); err == nil {
			t.Errorf("%q is zone %q", name, got)
		}
	}
	long, err := ZoneName(strings.Repeat(strings.Repeat(`\000`, 60)+".", 4) + "example")
	if err != nil {
		t.Fatal(err)
	}
	if file, ok := store.ZoneFile(long); ok {
		t.Errorf("a name of %d octets is a file's: %s", len(long), file)
	}
	if file := store.KeptZoneFile(long); len(file) > 100 {
		t.Errorf("kept in %s", file)
	}
}

func TestLeftovers(t *testing.T) {
	has := func(name string) bool { return name == "example.com.zone" }
	for file, want := range map[string]bool{
		"example.com.zone": false, ".example.com.zone": true, "example.com.zone~": true, "example.com.zone.bak": true, ".example.com.zone.swp": true,
		"#example.com.zone#": true, "example.com.zone.1": true, "example.com.zone.3": true, "example.com.zone.10": false, "other.1": false,
		"example.com.zone.jnl": true, "example.com.zone.dpkg-old": true,
	} {
		if isLeftover(file, has) != want {
			t.Errorf("%s: %t", file, !want)
		}
	}
}

// A file that another includes and that has no SOA record is no zone; one with
// its own is. The apex is the SOA record's, whatever stands before it.
func TestFolderReadsZones(t *testing.T) {
	r := newFolderRig(t)
	r.write("a.example.zone", fmt.Sprintf(folderZone, 1)+"$INCLUDE inc\n$INCLUDE b.example.inc b\n")
	r.write("inc", "www A 192.0.2.1\n")
	r.write("b.example.inc", "www A 192.0.2.1\n")
	r.write("alone", "www 60 A 192.0.2.1\n")
	r.write("late.zone", "$TTL 60\n$ORIGIN late.example.\nns A 192.0.2.1\n@ NS ns\n@ SOA ns h 7 1 1 1 1\n")
	r.write("out.zone", "$TTL 60\n$ORIGIN out.example.\n@ SOA ns h 8 1 1 1 1\n@ NS ns\nns A 192.0.2.1\nx.late.example. A 192.0.2.1\n")
	_, errs := r.look()
	if got, want := r.states(), "a.example. 1 a.example.zone ok; alone. 0 alone missing; late.example. 7 late.zone ok; out.example. 0 out.zone missing"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	text := errs.Error()
	for _, want := range []string{"alone:1:1: zone alone. has no SOA record", "late.zone: its SOA record makes it zone late.example., its name says late.", "out.zone:6:1: x.late.example. is not in zone out.example."} {
		if !strings.Contains(text, want) {
			t.Errorf("not said: %s\n%s", want, text)
		}
	}
	for _, not := range []string{"inc:", "late.zone:3", "not in zone late."} {
		if strings.Contains(text, not) {
			t.Errorf("said: %s\n%s", not, text)
		}
	}
}

// A look reads what may have changed and nothing else.
func TestFolderReadsWhatChanged(t *testing.T) {
	r := newFolderRig(t)
	for i := range 20 {
		r.write(fmt.Sprintf("z%d.example.zone", i), fmt.Sprintf(folderZone, 1)+"$INCLUDE inc/x\n")
	}
	if err := os.Mkdir(filepath.Join(r.dir, "inc"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.write("inc/x", "x A 192.0.2.1\n")
	if counts, errs := r.look(); counts.Read != 20 || counts.Zones != 20 || len(errs) > 0 {
		t.Fatalf("%+v %v", counts, errs)
	}
	before, revision := r.zones["z3.example."], r.Revision()
	r.age()
	if counts, _ := r.look(); counts.Read != 0 || r.zones["z3.example."] != before || r.Revision() != revision {
		t.Errorf("nothing changed: %+v, %s is %s", counts, revision, r.Revision())
	}
	// Shortly after a file was written its times say nothing: it is read again,
	// but what is the same is not parsed again.
	for _, f := range r.files {
		f.seen[0].stamp.settled = false
	}
	if r.look(); r.zones["z3.example."] != before {
		t.Error("a file that is the same is parsed again")
	}
	r.age()
	r.write("z3.example.zone", fmt.Sprintf(folderZone, 2))
	if counts, _ := r.look(); counts.Read != 1 || r.zones["z3.example."].State().Serial != 2 || r.Revision() == revision {
		t.Errorf("one changed: %+v", counts)
	}
	// An include is as good as the file itself.
	r.age()
	r.write("inc/x", "y A 192.0.2.2\n")
	if counts, _ := r.look(); counts.Read != 19 || r.zones["z4.example."].Zone().find("y.z4.example.") == nil {
		t.Errorf("an include changed: %+v", counts)
	}
	if err := os.Remove(filepath.Join(r.dir, "z5.example.zone")); err != nil {
		t.Fatal(err)
	}
	if counts, _ := r.look(); counts.Gone != 1 || counts.Zones != 19 {
		t.Errorf("one went: %+v", counts)
	}
}

// A file that is written again in the moment it was read, with the same size,
// is not missed: the grain of a file system's times is coarser than we are.
func TestFolderSeesARacingWrite(t *testing.T) {
	r := newFolderRig(t)
	for i := range 50 {
		r.write("a.example.zone", fmt.Sprintf(folderZone, i%8+1))
		if r.look(); r.zones["a.example."].State().Serial != uint32(i%8+1) {
			t.Fatalf("version %d is not seen", i%8+1)
		}
	}
}

// A bad file costs its own zone what is new, and no other anything. A zone
// that two files have is served from the one that has it; a folder that lost
// every zone is not believed.
func TestFolderKeepsWhatWasGood(t *testing.T) {
	r := newFolderRig(t)
	r.write("a.example.zone", fmt.Sprintf(folderZone, 1))
	r.write("b.example.zone", fmt.Sprintf(folderZone, 1))
	r.look()
	r.write("a.example.zone", "garbage\n")
	r.write("c.example.zone", "garbage\n")
	if counts, errs := r.look(); counts.Bad != 2 || !errs.Failed() {
		t.Errorf("%+v %v", counts, errs)
	}
	want := "a.example. 1 a.example.zone stale; b.example. 1 b.example.zone ok; c.example. 0 c.example.zone missing"
	for range 2 { // and again
		if r.look(); r.states() != want {
			t.Errorf("got  %s\nwant %s", r.states(), want)
		}
	}
	r.write("a.example.zone", fmt.Sprintf(folderZone, 2))
	r.write("c.example.zone", fmt.Sprintf(folderZone, 2))
	r.write("db.b.example", fmt.Sprintf(folderZone, 9))
	_, errs := r.look()
	if want := "a.example. 2 a.example.zone ok; b.example. 1 b.example.zone twice; c.example. 2 c.example.zone ok"; r.states() != want || !strings.Contains(errs.Error(), "db.b.example: zone b.example. is in b.example.zone already") {
		t.Errorf("%s\n%v", r.states(), errs)
	}
	if err := os.Remove(filepath.Join(r.dir, "db.b.example")); err != nil {
		t.Fatal(err)
	}
	if _, errs := r.look(); errs.Failed() {
		t.Error(errs)
	}
	was := r.states()
	for _, name := range []string{"a.example.zone", "b.example.zone", "c.example.zone"} {
		if err := os.Remove(filepath.Join(r.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := r.Refresh(); !errors.Is(err, errEmptied) || r.states() != was {
		t.Errorf("emptied: %v; %s", err, r.states())
	}
	if err := os.Remove(r.dir); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Refresh(); !errors.Is(err, fs.ErrNotExist) || r.states() != was {
		t.Errorf("gone: %v; %s", err, r.states())
	}
}

// Put and Drop leave the folder as the next look will find it.
func TestFolderPutAndDrop(t *testing.T) {
	r := newFolderRig(t)
	r.write("a.example.zone", fmt.Sprintf(folderZone, 1))
	r.look()
	empty := r.Revision()
	text := fmt.Sprintf(folderZone, 3)
	z, errs := ParseText("b.example.", "b", []byte(text), config.DefaultLimits().Zone)
	if z == nil {
		t.Fatal(errs)
	}
	r.write("b.example.zone", text)
	r.Put(z.At("b.example.zone", "b.example.zone", OriginFolder))
	put := r.Revision()
	if counts, _ := r.look(); counts.Read != 0 || r.Revision() != put || put == empty {
		t.Errorf("after Put: %+v, %s and %s", counts, put, r.Revision())
	}
	if err := os.Remove(filepath.Join(r.dir, "b.example.zone")); err != nil {
		t.Fatal(err)
	}
	r.Drop("b.example.")
	if r.Revision() != empty {
		t.Error("after Drop the revision is another than before Put")
	}
	if counts, _ := r.look(); counts.Gone != 0 || r.Revision() != empty {
		t.Errorf("after Drop: %+v", counts)
	}
}

func TestSerialWarning_RFC1982(t *testing.T) {
	version := func(serial uint32, rest string) *Loaded {
		z, errs := ParseText("a.example.", "a", []byte(fmt.Sprintf(folderZone, serial)+rest), config.DefaultLimits().Zone)
		if z == nil {
			t.Fatal(errs)
		}
		return z
	}
	for _, c := range []struct {
		was, is uint32
		rest    string
		want    string
	}{
		{1, 2, "", ""}, {2, 1, "", "goes back from 2 to 1"}, {1, 1, "x A 192.0.2.1\n", "has changed and its serial 1 has not"}, {1, 1, "", ""},
		{4294967295, 0, "", ""}, {0, 4294967295, "", "goes back"},
	} {
		if got := version(c.is, c.rest).SerialWarning(version(c.was, "").Zone()); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("from %d to %d: %q", c.was, c.is, got)
		}
	}
}

// A text that came by itself reaches no file.
func TestParseTextIncludesNothing(t *testing.T) {
	z, errs := ParseText("a.example.", "some/where", []byte(fmt.Sprintf(folderZone, 1)+"$INCLUDE /etc/passwd\n$INCLUDE x\n"), config.DefaultLimits().Zone)
	if z != nil || len(errs) != 2 || !strings.HasPrefix(errs[0].Error(), "some/where:5:1: $INCLUDE /etc/passwd: a zone given by command has no folder") {
		t.Errorf("%v", errs)
	}
}

// A table that changes by a zone shares all others with the one before, which
// stays as it was.
func TestTableWith(t *testing.T) {
	base := newTable(&config.DNS{})
	var list []*Loaded
	for i := range 3 {
		z, _ := ParseText(fmt.Sprintf("z%d.example.", i), "z", []byte(fmt.Sprintf(folderZone, 1)), config.DefaultLimits().Zone)
		list = append(list, z)
	}
	one, _ := base.WithAll(list, nil, nil)
	if one.Size() != 3 || base.Size() != 0 {
		t.Fatalf("%d and %d zones", one.Size(), base.Size())
	}
	one.zones.get("z1.example.").count.add(0, 0)
	next, _ := ParseText("z1.example.", "z", []byte(fmt.Sprintf(folderZone, 2)), config.DefaultLimits().Zone)
	two := one.With(next)
	three := two.Without("z0.example.").Without("nowhere.")
	if one.Zone("z1.example.").Serial() != 1 || two.Zone("z1.example.").Serial() != 2 || one.zones.get("z2.example.") != two.zones.get("z2.example.") {
		t.Error("the tables do not share what they should, or more")
	}
	if two.zones.get("z1.example.").count.sum()["NOERROR"] != 1 {
		t.Error("a new version forgets what was counted")
	}
	if three.Size() != 2 || three.Zone("z0.example.") != nil || two.Size() != 3 || two.rest.lookup("z0.example.") == nil || three.rest.lookup("z0.example.") != nil {
		t.Errorf("after Without: %d and %d zones", three.Size(), two.Size())
	}
	if _, gaveWay := three.WithAll(list, nil, nil); len(gaveWay) != 2 {
		t.Errorf("%d gave way", len(gaveWay))
	}
}

// A change costs a copy of one part of the zones, not of all.
func TestChangeCostsLittle(t *testing.T) {
	const many = 20_000
	z, _ := ParseText("z.example.", "z", []byte(fmt.Sprintf(folderZone, 1)), config.DefaultLimits().Zone)
	list := make([]*served, many)
	for i := range list {
		list[i] = &served{zone: z.Zone(), state: ZoneState{Name: fmt.Sprintf("z%d.example.", i)}, count: &zoneTally{}}
	}
	table := newTable(&config.DNS{}).serve(zonesOf(list))
	var before, after runtime.MemStats
	const times = 100
	runtime.ReadMemStats(&before)
	for range times {
		table.With(z)
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / times; each > many {
		t.Errorf("a change of one zone among %d takes %d octets", many, each)
	}
}

// BenchmarkTableWith is what a change of one zone costs the table.
func BenchmarkTableWith(b *testing.B) {
	for _, many := range []int{10_000, 100_000} {
		z, _ := ParseText("z.example.", "z", []byte(fmt.Sprintf(folderZone, 1)), config.DefaultLimits().Zone)
		list := make([]*served, many)
		for i := range list {
			list[i] = &served{zone: z.Zone(), state: ZoneState{Name: fmt.Sprintf("z%d.example.", i)}, count: &zoneTally{}}
		}
		table := newTable(&config.DNS{}).serve(zonesOf(list))
		b.Run(fmt.Sprint(many), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.With(z)
			}
		})
	}
}

// FuzzNameOfFile: whatever a zone is called, its file's name is harmless, no
// other zone's, and gives the zone's name again.
func FuzzNameOfFile(f *testing.F) {
	for _, name := range []string{".", "root.", "a.zone.", "-rf", "$(x)", `\000\.x.`, "0/25.2.0.192.in-addr.arpa", "db.x", "%2e", "x.1", "a@b"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		namesOfFile(name) // must not panic, whatever a file is called
		apex, err := ZoneName(name)
		if err != nil {
			return
		}
		file, short := store.ZoneFile(apex)
		if file[0] == '.' || file[0] == '-' || strings.ContainsAny(file, "/\x00\n ") || isLeftover(file, func(string) bool { return true }) {
			t.Fatalf("%q is kept in %q", apex, file)
		}
		if len(store.KeptZoneFile(apex)) > 255 {
			t.Fatalf("%q is kept in %q", apex, store.KeptZoneFile(apex))
		}
		if names := namesOfFile(file); short && (len(names) == 0 || names[0] != apex) {
			t.Fatalf("%q is kept in %q, which is %q", apex, file, names)
		}
	})
}

// A folder that is looked at again and again is what one look finds: random
// files, good, bad, moved, shared and included, against a fresh [Folder].
func TestFolderIsWhatAFreshLookFinds(t *testing.T) {
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 1))
		r := newFolderRig(t)
		r.write("stays.example.zone", fmt.Sprintf(folderZone, 1))
		names := []string{"a.example.zone", "a.example.db", "db.b.example", "b.example", "inc", "c.example.zone", "c.example.zone.1", "c.example.zone~"}
		for step := range 60 {
			name, other := names[random.IntN(len(names))], names[random.IntN(len(names))]
			serial := random.IntN(1000) + 1
			switch random.IntN(6) {
			case 0:
				_ = os.Remove(filepath.Join(r.dir, name)) // it may not be there
			case 1:
				_ = os.Rename(filepath.Join(r.dir, name), filepath.Join(r.dir, other))
			case 2:
				r.write(name, fmt.Sprintf(folderZone, serial)+"$INCLUDE inc\n")
			case 3:
				r.write("inc", fmt.Sprintf("x%d A 192.0.2.1\n", serial))
			default:
				r.write(name, fmt.Sprintf(folderZone, serial))
			}
			if random.IntN(2) == 0 {
				r.age()
			}
			r.look()
			fresh := &folderRig{t, r.dir, NewFolder(r.src, r.most)}
			fresh.look()
			// A zone whose file went bad has the version before, which a fresh look cannot have.
			got, want := forgetful(r, r, fresh), forgetful(fresh, r, fresh)
			if got != want {
				t.Fatalf("seed %d, step %d:\n%s\nwant\n%s", seed, step, got, want)
			}
		}
	}
}

// forgetful is states without what only a look before can know: versions before
// and the zones that any of the folders has one of, and which of two files
// served first.
func forgetful(r *folderRig, folders ...*folderRig) string {
	var kept []string
	for _, s := range strings.Split(r.states(), "; ") {
		apex, _, _ := strings.Cut(s, " ")
		if slices.ContainsFunc(folders, func(f *folderRig) bool {
			return f.zones[apex] != nil && (f.zones[apex].State().Stale || f.zones[apex].State().Missing)
		}) {
			continue
		}
		if strings.HasSuffix(s, " twice") {
			s = apex
		}
		kept = append(kept, s)
	}
	return strings.Join(kept, "; ")
}
