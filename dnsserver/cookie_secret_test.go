package dnsserver

import (
	"io/fs"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// A random secret signs for its rotation. The one before verifies until the
// last cookie that it has made has died, and no longer.
func TestCookieSecrets_Rotation(t *testing.T) {
	start, source := time.Unix(1_800_000_000, 0), netip.MustParseAddr("192.0.2.1")
	s := randomSecrets(24*time.Hour, start)
	first := s.at(start)[0]
	verify := func(key cookieKey, now time.Time) bool {
		cookie := cookieOf(t, aClient)
		cookieKeys{key}.sign(&cookie, source, now)
		return s.at(now).verify(&cookie, source, now)
	}
	for _, test := range []struct {
		after time.Duration
		first bool // verifies
		signs bool
	}{
		{0, true, true},
		{24*time.Hour - time.Second, true, true},
		{24 * time.Hour, true, false},
		{25*time.Hour + 5*time.Minute, true, false},
		{25*time.Hour + 5*time.Minute + time.Second, false, false},
	} {
		now := start.Add(test.after)
		if got := verify(first, now); got != test.first {
			t.Errorf("after %s the first secret verifies: %v", test.after, got)
		}
		if got := s.at(now)[0] == first; got != test.signs {
			t.Errorf("after %s the first secret signs: %v", test.after, got)
		}
	}
	second := s.at(start.Add(26 * time.Hour))[0]
	if late := start.Add(300 * time.Hour); !verify(second, late) || s.at(late)[0] == second {
		t.Error("a secret that nobody replaced in time verifies no more, or signs on")
	}
}

// Queries that come while a rotation is due agree on one new secret.
func TestCookieSecrets_RotateOnce(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	for range 500 {
		s, due := randomSecrets(time.Hour, start), start.Add(time.Hour)
		var wg sync.WaitGroup
		var got [4]cookieKey
		begin := make(chan struct{})
		for i := range got {
			wg.Go(func() {
				<-begin
				got[i] = s.at(due)[0]
			})
		}
		close(begin)
		wg.Wait()
		for _, k := range got {
			if k != got[0] {
				t.Fatalf("several secrets sign: %v", got)
			}
		}
	}
}

func compileCookies(t *testing.T, text string, files fstest.MapFS, before *Table) (*Table, config.Errors) {
	t.Helper()
	files["config.yaml"] = &fstest.MapFile{Data: []byte("version: 1\ndns:\n  cookies: {" + text + "}\n")}
	src := config.Source{FS: files, Dir: ".", Name: "config.yaml"}
	m, errs := config.Load(src)
	if m == nil {
		t.Fatal(errs)
	}
	return Compile(Inputs{Model: m, Source: src, Before: before})
}

func secretFile(mode fs.FileMode, lines ...string) fstest.MapFS {
	return fstest.MapFS{"cookies": {Mode: mode, Data: []byte(strings.Join(lines, "\n"))}}
}

// A reload keeps random secrets, so clients keep their cookies; a file is read
// again.
func TestCookieSecrets_Reload(t *testing.T) {
	compile := func(text string, files fstest.MapFS, before *Table) *Table {
		table, errs := compileCookies(t, text, files, before)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		return table
	}
	synctest.Test(t, func(t *testing.T) {
		signs := func(table *Table) cookieKey { return table.cookies.at(time.Now())[0] }
		one := compile("", fstest.MapFS{}, nil)
		two := compile("", fstest.MapFS{}, one)
		if signs(one) != signs(two) {
			t.Error("a reload lost the secret")
		}
		if signs(compile("", fstest.MapFS{}, nil)) == signs(one) {
			t.Error("two servers have the same secret")
		}
		first := signs(two)
		three := compile("rotation: 2h", fstest.MapFS{}, two)
		if signs(three) != first {
			t.Error("another rotation costs every client its cookie")
		}
		time.Sleep(2 * time.Hour)
		if set := three.cookies.at(time.Now()); len(set) != 2 || set[0] == first || set[1] != first {
			t.Error("the new rotation does not act, or what the secret before signed is void at once")
		}
		if signs(two) != signs(three) {
			t.Error("the table that is being replaced signs with another secret")
		}
		shorter := compile("rotation: 1h", fstest.MapFS{}, compile("rotation: 24h", fstest.MapFS{}, three))
		second := signs(three)
		time.Sleep(time.Hour)
		if set := shorter.cookies.at(time.Now()); len(set) != 2 || set[0] == second || set[1] != second {
			t.Error("a secret that is older than a shorter rotation signs on, or is void at once")
		}
		four := compile("secretFile: cookies", secretFile(0o640, testSecret), three)
		five := compile("secretFile: cookies", secretFile(0o640, "# new", "445536bcd2513298075a5d379663c962 # signs", "", testSecret), four)
		if signs(four) != secretOf(t, testSecret) || signs(five) != secretOf(t, "445536bcd2513298075a5d379663c962") || len(five.cookies.at(time.Now())) != 2 {
			t.Error("the file is not read again")
		}
		time.Sleep(1000 * time.Hour)
		if signs(five) == signs(four) || len(five.cookies.at(time.Now())) != 2 {
			t.Error("secrets of a file rotate")
		}
		if off := compile("enabled: false, secretFile: cookies", secretFile(0o640, testSecret), five); off.cookies != nil || off.demandAbove != 0 {
			t.Error("cookies are on")
		}
	})
}

// What is wrong with a file is told with its place and without the secret, and
// nothing runs on secrets that nobody chose.
func TestCookieSecrets_BadFile(t *testing.T) {
	other := "445536bcd2513298075a5d379663c962"
	nine := strings.Split(strings.TrimSpace(strings.Repeat(testSecret+"\n", 9)), "\n")
	for i := range nine {
		nine[i] = nine[i][:31] + string("0123456789"[i])
	}
	for _, test := range []struct {
		name, want string
		files      fstest.MapFS
	}{
		{"short", "cookies:2: a cookie secret is 32 hexadecimal digits, as openssl rand -hex 16 prints them; this line has 31 characters", secretFile(0o600, testSecret, other[1:])},
		{"not hexadecimal", "cookies:1: a cookie secret is 32 hexadecimal digits, as openssl rand -hex 16 prints them; this line has 32 characters", secretFile(0o600, "g"+other[1:])},
		{"twice", "cookies:3: this cookie secret stands above already", secretFile(0o600, testSecret, other, strings.ToUpper(testSecret))},
		{"empty", "cookies: cookie secret file holds no secret", secretFile(0o600, "# later", "")},
		{"nine", "cookies:9: more than 8 cookie secrets: two are enough to change from one to the next", secretFile(0o600, nine...)},
		{"huge", "cookies: reading cookie secrets: it is larger than 65536 bytes", secretFile(0o600, strings.Repeat("#\n", 40_000))},
	} {
		table, errs := compileCookies(t, "secretFile: cookies", test.files, nil)
		if table != nil || len(errs) != 1 || errs[0].Error() != test.want || strings.Contains(errs[0].Error(), other[1:]) {
			t.Errorf("%s: table %v, errors %v", test.name, table, errs)
		}
	}
	table, errs := compileCookies(t, "secretFile: cookies", secretFile(0o644, testSecret), nil)
	if table == nil || len(errs) != 1 || !errs[0].Warning || errs[0].Error() != "cookies: every user of this host can read the cookie secrets (mode 0644): chmod o= cookies" {
		t.Errorf("readable by all: %v", errs)
	}
	if _, errs = compileCookies(t, "secretFile: cookies", secretFile(0o640, testSecret), nil); len(errs) > 0 {
		t.Errorf("readable by the group: %v", errs)
	}
}
