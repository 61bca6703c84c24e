package api

import (
	"cmp"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// ZoneChanger changes one zone while all others are served. The change is
// served, and kept over a restart, when it returns without an error.
type ZoneChanger interface {
	ChangeZone(ctx context.Context, c ZoneChange) (ZoneChanged, error)
}

// ZoneVerb is what becomes of a zone.
type ZoneVerb string

// What can be done to a zone. Adding one that is there, and replacing or
// removing one that is not, is an error.
const (
	AddZone     ZoneVerb = "add"
	ReplaceZone ZoneVerb = "replace"
	RemoveZone  ZoneVerb = "remove"
)

// ZoneChange asks for one change of one zone.
type ZoneChange struct {
	Verb ZoneVerb
	Name string // the apex, as somebody wrote it
	From string // how the file of Text is called where it was read, for messages
	Text []byte // the master file; none to remove one
	By   string // who asks, from the socket
}

// ZoneChanged is what a change of a zone did.
type ZoneChanged struct {
	Name     string   `json:"name"`             // the apex
	Serial   uint32   `json:"serial,omitempty"` // of what is served now
	Records  int      `json:"records,omitempty"`
	File     string   `json:"file,omitempty"`   // where it is kept
	Before   *uint32  `json:"before,omitempty"` // the serial of the version before
	Kept     string   `json:"kept,omitempty"`   // where the version before lies
	Warnings []Detail `json:"warnings,omitempty"`
}

// MaxZoneText is how many bytes the text of a zone may have that comes through
// the API. Larger ones belong into a file of the configuration.
const MaxZoneText = 60 << 20

// zoneType is the media type of master files (RFC 4027).
const zoneType = "text/dns"

// maxFrom is how long the name of a zone's file may be, in bytes.
const maxFrom = 1000

// bodyLimit is how many bytes the body of a request may have.
func bodyLimit(r *http.Request) int64 {
	if strings.HasPrefix(r.URL.Path, "/v1/zones/") {
		return MaxZoneText
	}
	return maxBody
}

// changeZone makes an endpoint of a verb.
func (s *Server) changeZone(verb ZoneVerb) endpoint {
	return func(r *http.Request) (any, error) {
		c := ZoneChange{Verb: verb, Name: r.PathValue("name"), From: r.URL.Query().Get("file"), By: who(r.Context())}
		if len(c.Name) > maxName {
			return nil, Errorf(Invalid, "the name of a zone, as it is written, has more than %d bytes", maxName)
		}
		if verb != RemoveZone {
			if err := c.read(r); err != nil {
				return nil, err
			}
		}
		return s.opts.ZoneChanger.ChangeZone(r.Context(), c)
	}
}

// read takes the text of a zone from a request.
func (c *ZoneChange) read(r *http.Request) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != zoneType {
		return Errorf(Invalid, "the body must be %s, a master file", zoneType)
	}
	if c.From == "" {
		c.From = "zone"
	}
	if len(c.From) > maxFrom || !utf8.ValidString(c.From) || strings.ContainsFunc(c.From, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return Errorf(Invalid, "file must be a name on one line of at most %d bytes", maxFrom)
	}
	var err error
	if c.Text, err = io.ReadAll(r.Body); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return Errorf(Invalid, "the zone has more than %d bytes; name its file in a configuration, or put it into the folder", tooLarge.Limit)
		}
		return Errorf(Invalid, "the body: %v", err)
	}
	return nil
}

// zoneNames gives the names of all zones that are served.
func (v view) zoneNames() []string {
	return list(v.sortedZones(), func(z Zone) string { return z.Label() })
}

// sortedZones gives all zones by name, then view.
func (v view) sortedZones() []Zone {
	return slices.SortedFunc(v.opts.Zones(), func(a, b Zone) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.View, b.View)) })
}

// describeZone takes NAME, or NAME@VIEW for a zone of a view.
func (v view) describeZone(name string) *Description {
	name, in, _ := strings.Cut(name, "@")
	name = zoneLabel(strings.ToLower(strings.TrimSuffix(name, "."))+".", in)
	d := &Description{Kind: "zone", Name: name, Events: v.eventsOf(status.MakeID("zone", name))}
	if c := find(v.model.Zones, func(c *config.Zone) string { return zoneLabel(c.Name, c.View) }, name); c != nil {
		d.Config = c
	}
	for _, z := range v.zones() {
		if z.Label() == name {
			d.State = z
		}
	}
	if d.Config == nil && d.State == nil {
		return nil
	}
	return d
}
