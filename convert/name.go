package convert

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
)

// names are the names of one kind of noun that are taken, in lower case.
type names map[string]bool

// name gives a name of ours that is like the one wanted and not taken: letters
// and digits, inside also . _ and -, at most 63, no address.
func (g *gdnsd) name(kind, want string) string {
	taken := g.names[kind]
	if taken == nil {
		taken = names{}
		g.names[kind] = taken
	}
	base := nameLike(want, kind)
	name := base
	for n := 2; taken[strings.ToLower(name)]; n++ {
		tail := fmt.Sprintf("-%d", n)
		name = cut(base, 63-len(tail)) + tail
	}
	taken[strings.ToLower(name)] = true
	return name
}

func nameLike(want, kind string) string {
	inner := func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}
	s := strings.Trim(cut(strings.Map(inner, strings.ToValidUTF8(want, "-")), 63), "._-")
	if _, err := netip.ParseAddr(s); err == nil || s == "" {
		s = strings.TrimSuffix(kind+"-"+s, "-")
	}
	return s
}

// cut gives the first n characters, without a sign at the end.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		s = string(r[:n])
	}
	return strings.TrimRight(s, "._-")
}
