package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Zone is a zone that operators gave by command, as it is kept.
type Zone struct {
	Name string    // the apex
	From string    // the file it was, as whoever gave it called that
	By   string    // who gave it
	At   time.Time // when
	Text []byte    // the master file
}

const (
	kindZone    = "zone"
	zoneVersion = 1
	zoneFolder  = "zones"
	zoneSuffix  = ".zone"

	// maxZoneStem keeps the name of a zone's file, suffix included, well below
	// the 255 octets of a file name.
	maxZoneStem = 240
)

// Zones is the shelf of zones in the state folder, which it makes.
func (s *Store) Zones() (*Shelf, error) {
	shelf := NewShelf(filepath.Join(s.dir, zoneFolder), fileMode)
	if err := os.MkdirAll(shelf.Path(""), folderMode); err != nil {
		return nil, err
	}
	return shelf, shelf.Sweep()
}

// ZoneFile names the file of a zone: example.com. is example.com.zone. A / of
// the name (RFC 2317) is @; every octet that is not a letter, digit, hyphen,
// underscore or dot is %XX, as is a hyphen in front. The root is root.zone. It
// is false for a name that is too long to be a file's.
func ZoneFile(apex string) (string, bool) {
	stem := strings.TrimSuffix(apex, ".")
	switch stem {
	case "":
		return "root" + zoneSuffix, true
	case "root":
		return "%72oot" + zoneSuffix, true
	}
	var b strings.Builder
	for i := range len(stem) {
		switch c := stem[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '_', (c == '-' || c == '.') && i > 0:
			b.WriteByte(c)
		case c == '/':
			b.WriteByte('@')
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String() + zoneSuffix, b.Len() <= maxZoneStem
}

// ZoneOfFile gives the name that ZoneFile, or an operator by the same rules,
// made a stem of a file name from: without suffix, and not yet checked.
func ZoneOfFile(stem string) (string, error) {
	if stem == "root" {
		return ".", nil
	}
	name, err := url.PathUnescape(strings.ReplaceAll(stem, "@", "/"))
	return name + ".", err
}

// KeptZoneFile names the file of a zone in the state folder, which holds the
// zone's name, so that any name will do for one that is too long.
func KeptZoneFile(apex string) string {
	if name, ok := ZoneFile(apex); ok {
		return name
	}
	return string(sumOf([]byte(apex))) + zoneSuffix
}

// Seal gives the content of a file that keeps a zone: the head of every state
// file, a line that says whose it is, and the master file.
func (z Zone) Seal() ([]byte, error) {
	line, err := json.Marshal(zoneLine{z.Name, z.From, z.By})
	if err != nil {
		return nil, err
	}
	h := header{kind: kindZone, version: zoneVersion, saved: z.At.UTC().Truncate(time.Millisecond)}
	text := h.seal(append(append(line, '\n'), z.Text...))
	if len(text) > maxFile {
		return nil, fmt.Errorf("%d bytes are more than the %d a state file may have", len(text), maxFile)
	}
	return text, nil
}

type zoneLine struct {
	Name string `json:"name"`
	From string `json:"from"`
	By   string `json:"by"`
}

// ReadZone reads a zone of [Store.Zones]. Any damage is an error.
func ReadZone(path string) (Zone, error) {
	text, err := readBounded(path, maxFile)
	if err != nil {
		return Zone{}, err
	}
	h, body, err := open(text)
	switch {
	case err != nil:
		return Zone{}, err
	case h.kind != kindZone:
		return Zone{}, fmt.Errorf("holds %q", h.kind)
	case h.version != zoneVersion:
		return Zone{}, fmt.Errorf("is version %d: %w", h.version, ErrVersion)
	}
	head, rest, ok := bytes.Cut(body, []byte{'\n'})
	if !ok {
		return Zone{}, errors.New("its second line is not closed")
	}
	var line zoneLine
	if err := json.Unmarshal(head, &line); err != nil {
		return Zone{}, fmt.Errorf("its second line: %w", err)
	}
	return Zone{Name: line.Name, From: line.From, By: line.By, At: h.saved, Text: rest}, nil
}
