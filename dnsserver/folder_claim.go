package dnsserver

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/portolan-lb/portolan/store"
)

// claim is a file's claim to a zone. Which zone a file is says its SOA record,
// so anybody who may write into the folder can claim any zone; of several files
// the name decides, which only one of each kind can have.
type claim struct {
	zone *Loaded
	rank int  // lower wins
	held bool // the file serves the zone already
}

// The ranks of claims. A file that is named after its zone wins even if it is
// so bad that there is nothing to serve: else a slip in it, and a restart, gave
// the zone to another. But no file that says nothing stops one that serves.
const (
	claimNamed = iota
	claimHeld
	claimNamedBad
	claimOther
	claimBad
)

// claimOf makes the claim of what a file serves; was is what serves the zone
// until now, or nil.
func claimOf(z, was *Loaded) claim {
	c := claim{zone: z, rank: claimOther}
	c.held = was != nil && was.Zone() != nil && was.State().File == z.State().File
	named, good := slices.Contains(namesOfFile(z.State().File), z.Name()), z.Zone() != nil
	switch {
	case named && good:
		c.rank = claimNamed
	case named:
		c.rank = claimNamedBad
	case !good:
		c.rank = claimBad
	case c.held:
		c.rank = claimHeld
	}
	return c
}

// before orders claims, the winner first. What it finds equal is in the order of
// the files' names.
func (c claim) before(other claim) int {
	switch {
	case c.rank != other.rank:
		return cmp.Compare(c.rank, other.rank)
	case c.held == other.held:
		return 0
	case c.held:
		return -1
	}
	return 1
}

// noZoneName says why a file name is no zone's; namesOfFile gave nothing.
func noZoneName(file string) string {
	const forms = "a zone is called NAME.zone, NAME.db, NAME.txt, db.NAME or NAME"
	if notUTF8(file) {
		return fmt.Sprintf("its name %q is not UTF-8, and such a file cannot be opened; write the odd octets as %%XX", file)
	}
	stem := stemsOfFile(file)[0]
	name, err := store.ZoneOfFile(stem)
	var escape url.EscapeError
	switch {
	case errors.As(err, &escape):
		return "its name is no zone's: after % stand two hexadecimal digits, not as in " + string(escape)
	case strings.Contains(name, "..") || name[0] == '.':
		return "its name is no zone's: " + stem + " has an empty label, dots with nothing between; " + forms
	case slices.ContainsFunc(strings.Split(name, "."), func(label string) bool { return len(label) > 63 }):
		return "its name is no zone's: " + stem + " has a label of more than 63 octets; " + forms
	case strings.HasPrefix(name, "*."):
		return "its name is no zone's: " + stem + " is a wildcard, and a zone has a name; " + forms
	}
	return "its name is no zone's: " + forms
}

// notUTF8 says whether a file has a name that cannot be opened or shown.
func notUTF8(file string) bool { return !utf8.ValidString(file) }
