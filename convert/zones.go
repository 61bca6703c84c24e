package convert

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsserver"
)

// readZones converts the files of the folder zones, one zone a file.
func (g *gdnsd) readZones() error {
	entries, err := fs.ReadDir(g.src.FS, g.src.Path("zones"))
	if errors.Is(err, fs.ErrNotExist) {
		g.note(config.Pos{File: g.src.Show("zones")}, "zones", "there is no such folder, so there are no zones", "")
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: cannot read it: %w", g.src.Show("zones"), reason(err))
	}
	seen := map[string]string{}
	for _, e := range entries {
		ref := path.Join("zones", e.Name())
		info, err := fs.Stat(g.src.FS, g.src.Path(ref)) // symbolic links followed, as gdnsd 3 does
		switch {
		case strings.HasPrefix(e.Name(), "."):
			continue
		case err != nil:
			return fmt.Errorf("%s: cannot read it: %w", g.src.Show(ref), reason(err))
		case info.IsDir():
			continue
		}
		at := config.Pos{File: g.src.Show(ref)}
		name, ok := zoneName(e.Name())
		switch {
		case !ok:
			g.lost(at, "zone "+e.Name(), "labels of a zone's name are letters, digits, -, _ and / here", "")
			continue
		case seen[name] != "":
			g.lost(at, "zone "+name, "it is the zone of "+seen[name]+" already", "")
			continue
		}
		seen[name] = g.src.Show(ref)
		if err := g.zone(name, ref); err != nil {
			return err
		}
	}
	return nil
}

// zoneName gives the zone of a file: @ stands for / (RFC 2317), ROOT_ZONE for
// the root, and escapes are those of zone files.
func zoneName(file string) (string, bool) {
	if file == "ROOT_ZONE" {
		return ".", true
	}
	if strings.Contains(file, "\\") {
		return "", false // whatever is escaped is none of what a label may have
	}
	name := strings.ToLower(strings.TrimSuffix(strings.ReplaceAll(file, "@", "/"), ".")) + "."
	return name, validName(name)
}

// validName says whether configurations of ours can name it. A wildcard label
// may be the first.
func validName(fqdn string) bool {
	if len(fqdn) > 254 {
		return false
	}
	for i, label := range strings.Split(strings.TrimSuffix(fqdn, "."), ".") {
		plain := strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_/") == ""
		if label == "" || len(label) > 63 || !plain && (i > 0 || label != "*") {
			return false
		}
	}
	return true
}

// zone is a zone while it is converted.
type zone struct {
	*gdnsd
	apex  string
	names lines
	bound map[string]bool // names of this zone that are dynamic
	files int
}

func (g *gdnsd) zone(apex, ref string) error {
	z := &zone{gdnsd: g, apex: apex, bound: map[string]bool{}}
	text, err := z.file(ref, ref, config.Pos{File: g.src.Show(ref)}, scope{origin: apex, fileOrigin: apex, ttl: g.opts.defaultTTL}, nil)
	if err != nil {
		return err
	}
	g.files[ref] = text
	shown := strings.TrimSuffix(apex, ".")
	if apex == "." {
		shown = "."
	}
	g.zones = append(g.zones, block{"", mapping{{"name", shown}, {"file", ref}, {"names", orLines(z.names)}}})
	g.bound += len(z.names)
	return nil
}

func orLines(l lines) any {
	if len(l) == 0 {
		return nil
	}
	return l
}

// dynamic is a DYNA or DYNC entry.
type dynamic struct {
	owner  string // absolute, lower case
	kind   string // DYNA or DYNC
	ref    string // plugin!resource
	ttl    string // MAX[/MIN] as written, or ""
	pos    config.Pos
	refPos config.Pos
}

func (d *dynamic) what() string { return d.owner + " " + d.kind + " " + d.ref }

// bind makes a dynamic entry a name of the zone. It gives records that take its
// place in the zone file; none is usual.
func (z *zone) bind(d *dynamic, defaultTTL int) (records []string) {
	high, low, ok := z.bounds(d, defaultTTL)
	if !ok {
		return nil
	}
	plugin, resource, _ := strings.Cut(d.ref, "!")
	switch static := z.definition("static", resource); {
	case z.bound[d.owner]:
		z.lost(d.pos, d.what(), "the name is dynamic already", "")
		return nil
	case plugin == "null":
		return []string{fmt.Sprintf("%s %d A 0.0.0.0", d.owner, high), fmt.Sprintf("%s %d AAAA ::", d.owner, high)}
	case plugin == "static" && static != nil && static.value.kind == scalar:
		z.recorded[resource] = true
		if record, ok := z.staticRecord(d, static.value, high); ok {
			return []string{record}
		}
		return nil
	}
	s := z.resource(resourceKey{plugin, resource, alone}, d.refPos)
	switch {
	case s == nil:
		z.lost(d.pos, d.what(), "no pool stands for it: the name is not answered any more", "bind the name to a pool, or give it records")
		return nil
	case !validName(d.owner):
		z.lost(d.pos, d.what(), "labels of a dynamic name are letters, digits, - and _ here", "")
		return nil
	}
	z.bound[d.owner] = true
	if s.soon > 0 { // gdnsd's law: no longer than the answer can last
		high = min(high, max(low, int(s.soon/time.Second)))
	}
	z.names = append(z.names, line{mapping{{"name", z.relative(d.owner)}, {"pool", z.poolOf(s)}, {"ttl", ttlValue(low, high)}}, ""})
	return nil
}

func (z *zone) staticRecord(d *dynamic, value *node, ttl int) (string, bool) {
	if isAddr(value) {
		a, ok := z.address(value, "static!"+d.ref)
		kind := "A"
		if a.Is6() {
			kind = "AAAA"
		}
		return fmt.Sprintf("%s %d %s %s", d.owner, ttl, kind, a), ok
	}
	host, ok := z.host(value, d.ref)
	return fmt.Sprintf("%s %d CNAME %s", d.owner, ttl, host), ok
}

func ttlValue(low, high int) any {
	l, h := time.Duration(low)*time.Second, time.Duration(high)*time.Second
	if l == h {
		return l
	}
	return mapping{{"min", l}, {"max", h}}
}

// bounds reads MAX[/MIN]. Half of MAX is MIN if it is not written.
func (z *zone) bounds(d *dynamic, defaultTTL int) (high, low int, ok bool) {
	high = defaultTTL
	text, least, both := strings.Cut(d.ttl, "/")
	if text != "" {
		if high, ok = parseSeconds(text); !ok {
			z.lost(d.pos, d.what(), text+" is no TTL", "")
			return 0, 0, false
		}
	}
	low = high / 2
	if both {
		if low, ok = parseSeconds(least); !ok {
			z.lost(d.pos, d.what(), least+" is no TTL", "")
			return 0, 0, false
		}
	}
	const day = 86400
	if high > day {
		z.differs(d.pos, d.what(), "a dynamic name's TTL is at most a day here", "")
	}
	high = min(max(high, z.opts.minTTL), z.opts.maxTTL, day)
	return high, min(max(low, z.opts.minTTL), high), true
}

// relative gives a name as the configuration writes it, relative to the zone.
func (z *zone) relative(fqdn string) string {
	switch {
	case fqdn == z.apex:
		return "@"
	case z.apex == ".":
		return strings.TrimSuffix(fqdn, ".")
	default:
		return strings.TrimSuffix(fqdn, "."+z.apex)
	}
}

// parseSeconds reads a TTL as zone files write it, up to the 31 bits of RFC 2181 8.
func parseSeconds(word string) (int, bool) {
	ttl, ok := dnsserver.ParseTTL(word)
	return int(ttl), ok && ttl < 1<<31
}
