package api_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/api"
)

// zoneAsks remembers what it was asked.
type zoneAsks struct{ last api.ZoneChange }

func (z *zoneAsks) ChangeZone(_ context.Context, c api.ZoneChange) (api.ZoneChanged, error) {
	z.last = c
	return api.ZoneChanged{Name: c.Name, Serial: 7}, nil
}

// A zone's name travels as it was written, whatever a path would make of it.
func TestZoneNamesTravel(t *testing.T) {
	asks := &zoneAsks{}
	o := newDaemon().options()
	o.ZoneChanger = asks
	c, _ := serve(t, o)
	for _, name := range []string{"example.com", ".", "..", "../../x", "0/25.2.0.192.in-addr.arpa", "a//b", "/", "%2e", "a b?c#d", "$(x)", "-rf", "\x00\xff"} {
		for _, verb := range []api.ZoneVerb{api.AddZone, api.ReplaceZone, api.RemoveZone} {
			done, err := c.ChangeZone(t.Context(), api.ZoneChange{Verb: verb, Name: name, From: "dir/x.zone", Text: []byte("text\x00")})
			if err != nil || done.Serial != 7 || asks.last.Name != name || asks.last.Verb != verb || asks.last.From != "dir/x.zone" || asks.last.By == "" {
				t.Errorf("%s %q: %+v, %v", verb, name, asks.last, err)
			}
			if (verb == api.RemoveZone) != (asks.last.Text == nil) {
				t.Errorf("%s %q: text %q", verb, name, asks.last.Text)
			}
		}
	}
}

// What is no master file, or names its file in a way that could trick whoever
// reads the errors, is refused.
func TestZoneBodies(t *testing.T) {
	o := newDaemon().options()
	o.ZoneChanger = &zoneAsks{}
	h := api.New(o).Handler()
	long := strings.Repeat("x", 1001)
	for _, c := range []struct {
		method, path, kind, body string
		status                   int
		text                     string
	}{
		{"POST", "/v1/zones/a", "text/dns", "@ SOA", 200, `"name":"a"`},
		{"PUT", "/v1/zones/a?file=x", "text/dns; charset=us-ascii", "", 200, `"name":"a"`},
		{"DELETE", "/v1/zones/a", "", "", 200, `"name":"a"`},
		{"POST", "/v1/zones/a", "application/json", "{}", 400, "the body must be text/dns"},
		{"POST", "/v1/zones/a?file=" + long, "text/dns", "", 400, "file must be a name on one line"},
		{"POST", "/v1/zones/a?file=x%0Ay", "text/dns", "", 400, "file must be a name on one line"},
		{"POST", "/v1/zones/" + long + long, "text/dns", "", 400, "has more than 1020 bytes"},
		{"GET", "/v1/zones/a", "", "", 405, "takes POST and PUT and DELETE, not GET"},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
		r.Header.Set("Content-Type", c.kind)
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != c.status || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%s %.40s: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
}

// A zone may be larger than a configuration, but has its own bound.
func TestZoneBodyBound(t *testing.T) {
	asks := &zoneAsks{}
	o := newDaemon().options()
	o.ZoneChanger = asks
	h := api.New(o).Handler()
	for size, status := range map[int64]int{17 << 20: http.StatusOK, api.MaxZoneText + 1: http.StatusBadRequest} {
		r := httptest.NewRequest("POST", "/v1/zones/a", io.LimitReader(zeros{}, size))
		r.Header.Set("Content-Type", "text/dns")
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != status {
			t.Errorf("%d bytes: %d %s", size, w.Code, w.Body)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
