package dnsserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func (r *folderRig) remove(name string) {
	r.t.Helper()
	if err := os.Remove(filepath.Join(r.dir, name)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *folderRig) want(what, states string) {
	r.t.Helper()
	if got := r.states(); got != states {
		r.t.Errorf("%s:\ngot  %s\nwant %s", what, got, states)
	}
}

// restart is the folder as a server that starts finds it.
func (r *folderRig) restart() {
	r.t.Helper()
	r.Folder = NewFolder(r.src, r.most)
	r.look()
}

// claiming is a zone file that says by itself which zone it is.
func claiming(apex string, serial int) string {
	return "$ORIGIN " + apex + "\n" + fmt.Sprintf(folderZone, serial)
}

// A file whose SOA record says the zone of another file does not get it if the
// other is named after it, whatever the order of the names, when it comes, and
// however bad the other is.
func TestFolderZoneIsOfTheFileNamedAfterIt(t *testing.T) {
	for _, own := range []string{"bank.example.zone", "bank.example.db", "bank.example.txt", "db.bank.example", "bank.example", "Bank.Example.zone"} {
		t.Run(own, func(t *testing.T) {
			r := newFolderRig(t)
			r.write("stays.example.zone", fmt.Sprintf(folderZone, 1))
			r.write(own, fmt.Sprintf(folderZone, 1)+"$ORIGIN bank.example.\n")
			r.look()
			const stays = "; stays.example. 1 stays.example.zone ok"
			r.write("aaa.example.zone", claiming("bank.example.", 666))
			_, errs := r.look()
			r.want("a newcomer", "bank.example. 1 "+own+" twice"+stays)
			if want := "aaa.example.zone: zone bank.example. is in " + own + " already, which is served"; !strings.Contains(errs.Error(), want) {
				t.Errorf("not said: %s\n%v", want, errs)
			}
			r.restart()
			r.want("a restart", "bank.example. 1 "+own+" twice"+stays)
			r.write(own, "garbage\n")
			r.look()
			r.want("the file goes bad", "bank.example. 1 "+own+" stale"+stays)
			r.restart()
			r.want("a restart with the bad file", "bank.example. 0 "+own+" missing"+stays)
			r.remove(own)
			r.look()
			r.want("nobody else has it", "bank.example. 666 aaa.example.zone ok"+stays)
			r.write(own, fmt.Sprintf(folderZone, 2))
			r.look()
			r.want("the file comes back", "bank.example. 2 "+own+" twice"+stays)
		})
	}
}

// Where no file, or more than one, is named after the zone, the one that serves
// goes on; at start the first by name does. Junk of the right name costs nobody
// a zone that is served.
func TestFolderZoneStaysWhereItIs(t *testing.T) {
	r := newFolderRig(t)
	r.write("0002.zone", claiming("a.example.", 2))
	r.look()
	r.write("0001.zone", claiming("a.example.", 1))
	r.look()
	r.want("it serves already", "a.example. 2 0002.zone twice")
	r.write("a.example.txt", "notes\n")
	r.look()
	r.want("junk of its name", "a.example. 2 0002.zone twice")
	r.remove("a.example.txt")
	r.restart()
	r.want("the first by name", "a.example. 1 0001.zone twice")
	r.remove("0002.zone")
	r.write("a.example.zone", fmt.Sprintf(folderZone, 3))
	r.look()
	r.want("one is named after it", "a.example. 3 a.example.zone twice")
	r.remove("0001.zone")
	r.write("a.example.db", fmt.Sprintf(folderZone, 4))
	r.look()
	r.want("both are", "a.example. 3 a.example.zone twice")
	r.restart()
	r.want("both are, at start", "a.example. 4 a.example.db twice")
}

// The root has every name that no other zone has, so only a file that is called
// so is taken for it: good, bad, and with nothing else there.
func TestFolderRootByItsNameAlone(t *testing.T) {
	for _, text := range []string{claiming(".", 1), claiming(".", 1) + "garbage\n", ". 60 SOA ns. h. 1 1 1 1 1\n. 60 NS ns.\n"} {
		r := newFolderRig(t)
		r.write("aaa.example.zone", text)
		_, errs := r.look()
		r.want("another name", "aaa.example. 0 aaa.example.zone missing")
		if want := "its SOA record makes it the root zone, and its name zone aaa.example.; call the file root.zone if it is"; !strings.Contains(errs.Error(), want) {
			t.Errorf("not said: %s\n%v", want, errs)
		}
	}
	for _, name := range []string{"root.zone", "db.root", "root", "root.db", "root.txt"} {
		r := newFolderRig(t)
		r.write(name, ". 60 SOA ns. h. 1 1 1 1 1\n. 60 NS ns.\nns. 60 A 192.0.2.1\n")
		if _, errs := r.look(); errs.Failed() {
			t.Errorf("%s: %v", name, errs)
		}
		r.want(name, ". 1 "+name+" ok")
	}
}

// A folder where none of the zones is left that served is not believed, whatever
// else it holds; one where nothing was served yet may become any.
func TestFolderOfOtherZones(t *testing.T) {
	r := newFolderRig(t)
	r.write("oops", "garbage\n")
	r.look()
	r.remove("oops")
	r.write("a.example.zone", fmt.Sprintf(folderZone, 1))
	r.write("b.example.zone", fmt.Sprintf(folderZone, 1))
	r.look()
	was := "a.example. 1 a.example.zone ok; b.example. 1 b.example.zone ok"
	r.want("from junk to zones", was)
	if another, err := r.Another(); another || err != nil {
		t.Errorf("the same folder: %t, %v", another, err)
	}
	if err := os.Rename(r.dir, r.dir+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Another(); err == nil {
		t.Error("a folder that is gone can be looked at")
	}
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.write("c.example.zone", fmt.Sprintf(folderZone, 1))
	if _, _, err := r.Refresh(); err != errOthers {
		t.Errorf("other zones: %v", err)
	}
	r.want("other zones", was)
	if another, err := r.Another(); !another || err != nil {
		t.Errorf("another folder: %t, %v", another, err)
	}
	r.write("b.example.zone", fmt.Sprintf(folderZone, 2))
	r.look()
	r.want("one of them", "b.example. 2 b.example.zone ok; c.example. 1 c.example.zone ok")
	if another, err := r.Another(); another || err != nil {
		t.Errorf("after it was read: %t, %v", another, err)
	}
}

// What is wrong with a name that is no zone's is said.
func TestFolderBadNames(t *testing.T) {
	for name, want := range map[string]string{
		"a..b.zone":                        "its name is no zone's: a..b has an empty label, dots with nothing between",
		"db..x":                            "its name is no zone's: .x has an empty label",
		"a%2.zone":                         "after % stand two hexadecimal digits, not as in %2",
		"*.example.zone":                   "*.example is a wildcard, and a zone has a name",
		strings.Repeat("a", 64) + ".zone":  "has a label of more than 63 octets",
		"a\xff.example.zone":               `its name "a\xff.example.zone" is not UTF-8, and such a file cannot be opened`,
		strings.Repeat("a.", 120) + "zone": "",
	} {
		r := newFolderRig(t)
		r.write(name, fmt.Sprintf(folderZone, 1))
		_, errs := r.look()
		if want == "" {
			if errs.Failed() {
				t.Errorf("%s: %v", name, errs)
			}
			continue
		}
		if len(errs) != 1 || !strings.Contains(errs[0].Text, want) || len(r.Zones()) != 0 {
			t.Errorf("%q: %v; want %s", name, errs, want)
		}
	}
}
