package traffic

import (
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/status"
)

// A spell is told when it begins and when it is over, with how many there were,
// also if it began before anybody counted.
func TestSpells(t *testing.T) {
	var s Spells
	var got []string
	record := func(e status.Event) {
		got = append(got, string(e.ID)+": "+e.Old+">"+e.New+" ("+e.Why+") by "+e.By)
	}
	news := func(want ...string) {
		t.Helper()
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		got = nil
	}
	at := time.Unix(1000, 0)
	seen := func(sp Spell) { s.Seen(sp, "me", at, record) }
	full := Spell{ID: "link/a", What: "limit reached", Over: "below its limit"}
	begun, counted, other := full, full, full
	begun.Why = "it has as many as it may"
	counted.Whom, counted.Tried = "new connections tried another", 3
	other.ID, other.Whom, other.Tried = "link/b", "new connections tried another", 1

	seen(begun)
	news("link/a: >limit reached (it has as many as it may) by me")
	at = at.Add(time.Second)
	seen(counted)
	seen(other)
	seen(begun)
	news("link/b: >limit reached (1 new connections tried another) by me")
	at = at.Add(spellQuiet - time.Second)
	s.End("me", at, record)
	news()
	at = at.Add(time.Second)
	s.End("me", at, record)
	news("link/a: limit reached>below its limit (3 new connections tried another, within 1s) by me",
		"link/b: limit reached>below its limit (1 new connections tried another, within 0s) by me")
	s.End("me", at, record)
	news()
}
