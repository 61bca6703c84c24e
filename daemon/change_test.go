package daemon

import (
	"errors"
	"testing"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/config"
)

// A change that is refused for what it is, or for how the server runs, is no
// fault of the server's.
func TestOnlyFile(t *testing.T) {
	one, two := map[string]string{"a.yaml": "a"}, map[string]string{"a.yaml": "a", "b.yaml": "b"}
	for _, c := range []struct {
		own    string
		change api.Change
		want   api.Kind
	}{
		{".", api.Change{Base: "/etc", Files: one}, api.Conflict},
		{"portolan.yaml", api.Change{Base: "/etc", Files: two}, api.Invalid},
		{"portolan.yaml", api.Change{Base: "etc", Files: one}, api.Invalid},
		{"portolan.yaml", api.Change{Base: "/etc", Files: one}, ""},
	} {
		text, err := onlyFile(c.change, config.Source{Name: c.own})
		var e *api.Error
		switch {
		case c.want == "" && (err != nil || string(text) != "a"):
			t.Errorf("%+v: %q, %v", c.change, text, err)
		case c.want != "" && (!errors.As(err, &e) || e.Kind != c.want):
			t.Errorf("%+v: %v, want kind %s", c.change, err, c.want)
		}
	}
}
