package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/oschwald/geoip2-golang/v2"
	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/portolan-lb/portolan/config"
)

// database is an open geo database.
type database struct {
	shown   string // its name as messages print it
	reader  *maxminddb.Reader
	layout  layout
	aliases []netip.Prefix // IPv6 networks under which its IPv4 part shows again
}

// layout says how a database spells its records. More than one may apply.
type layout struct {
	location bool // MaxMind's nested country, city, ... (GeoIP2 City, Country, Enterprise)
	asn      bool // MaxMind's autonomous_system_number (GeoLite2 ASN, GeoIP2 ISP)
	flat     bool // country_code and the like at the top
}

// flatKeys are the names under which flat layouts have a field, the best
// first.
var flatKeys = [fieldCount][]string{
	fieldContinent:   {"continent_code", "continent"},
	fieldCountry:     {"country_code", "country_iso_code", "country"},
	fieldSubdivision: {"subdivision_code", "region_code", "state_code"},
	fieldCity:        {"city", "city_name"},
	fieldASN:         {"autonomous_system_number", "asn", "as_number"},
}

// layoutSample is how many distinct records are looked at to tell the layout:
// early records of a database often lack most fields.
const layoutSample = 200

// openDatabase reads a database whole; the bytes stay, for Explain.
func openDatabase(src config.Source, ref string) (*database, error) {
	data, err := src.ReadFile(ref)
	if err != nil {
		return nil, fmt.Errorf("reading geo database: %w", err)
	}
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		return nil, fmt.Errorf("not a geo database: %w", err)
	}
	d := &database{shown: src.Show(ref), reader: reader}
	if d.layout, err = readLayout(reader); err != nil {
		return nil, err
	}
	d.aliases = aliases(reader)
	return d, nil
}

// readLayout tells the layout from the first records.
func readLayout(reader *maxminddb.Reader) (layout, error) {
	var l layout
	sampled := map[uintptr]bool{}
	for result := range reader.Networks() {
		if sampled[result.Offset()] {
			continue
		}
		var fields map[string]any
		if err := result.Decode(&fields); err != nil {
			return l, fmt.Errorf("geo database: record of %s: %w", result.Prefix(), err)
		}
		l.note(fields)
		sampled[result.Offset()] = true
		if len(sampled) == layoutSample {
			break
		}
	}
	if l == (layout{}) {
		return l, errors.New("geo database has no field known here: want MaxMind's layout, or country_code, asn and the like")
	}
	return l, nil
}

// note marks what a record shows of the layout.
func (l *layout) note(fields map[string]any) {
	// Flat databases may have this key among others; on its own it is
	// MaxMind's ASN layout.
	asn := fields["autonomous_system_number"] != nil
	l.asn = l.asn || asn
	if nested(fields) {
		l.location = true
		return
	}
	for f := range fieldCount {
		if f != fieldASN || !asn {
			l.flat = l.flat || flatValue(fields, f) != ""
		}
	}
}

// nested says whether a record has MaxMind's maps within maps.
func nested(fields map[string]any) bool {
	for _, name := range []string{"country", "registered_country", "city", "continent"} {
		if _, ok := fields[name].(map[string]any); ok {
			return true
		}
	}
	_, ok := fields["subdivisions"].([]any)
	return ok
}

// aliases tells which IPv6 networks repeat the database's IPv4 part. They are
// left out: a client behind 6to4 or Teredo is not where its IPv4 part is.
func aliases(reader *maxminddb.Reader) []netip.Prefix {
	if reader.Metadata.IPVersion != 6 {
		return nil
	}
	var found []netip.Prefix
	for _, p := range []string{"::ffff:0:0/96", "2001::/32", "2002::/16"} {
		prefix := netip.MustParsePrefix(p)
		if !anyNetwork(reader, prefix) && anyNetwork(reader, prefix, maxminddb.IncludeAliasedNetworks()) {
			found = append(found, prefix)
		}
	}
	return found
}

func anyNetwork(reader *maxminddb.Reader, within netip.Prefix, options ...maxminddb.NetworksOption) bool {
	for range reader.NetworksWithin(within, options...) {
		return true
	}
	return false
}

// read decodes a result into the fields that matchers know.
func (d *database) read(result maxminddb.Result) (*record, error) {
	r := new(record)
	if d.layout.location {
		var city geoip2.City
		if err := result.Decode(&city); err != nil {
			return nil, err
		}
		r.add(fieldContinent, city.Continent.Code)
		r.add(fieldCountry, city.Country.ISOCode)
		r.add(fieldCity, city.City.Names.English)
		for _, s := range city.Subdivisions {
			r.add(fieldSubdivision, s.ISOCode)
		}
	}
	if d.layout.asn {
		var asn geoip2.ASN
		if err := result.Decode(&asn); err != nil {
			return nil, err
		}
		r.addNumber(uint64(asn.AutonomousSystemNumber))
	}
	if d.layout.flat {
		var fields map[string]any
		if err := result.Decode(&fields); err != nil {
			return nil, err
		}
		r.addFlat(fields)
	}
	return r, nil
}

func (r *record) add(f field, value string) {
	if value != "" {
		r[f] = append(r[f], value)
	}
}

func (r *record) addNumber(asn uint64) {
	if asn != 0 {
		r.add(fieldASN, strconv.FormatUint(asn, 10))
	}
}

func (r *record) addFlat(fields map[string]any) {
	for f := range fieldCount {
		if len(r[f]) == 0 {
			r.add(f, flatValue(fields, f))
		}
	}
}

// flatValue gives a field of a flat record as matchers spell it, or "".
func flatValue(fields map[string]any, f field) string {
	for _, name := range flatKeys[f] {
		value := ""
		switch v := fields[name].(type) {
		case string:
			value = v
		case uint64:
			value = strconv.FormatUint(v, 10)
		}
		switch f {
		case fieldASN:
			value = strings.TrimPrefix(strings.ToUpper(value), "AS")
		case fieldSubdivision: // "CN-GD" in some
			value = value[strings.LastIndexByte(value, '-')+1:]
		}
		if value != "" && value != "0" {
			return value
		}
	}
	return ""
}

// layers walks the whole database once and lays out each family; the ids are
// the numbers of g's answers. Each distinct record is decoded once.
func (d *database) layers(g *geo) (v4, v6 layer, err error) {
	v4, v6 = newLayer(), newLayer()
	decoded := map[uintptr]uint32{}
	count := uint(0)
	for result := range d.reader.Networks(maxminddb.IncludeNetworksWithoutData()) {
		// A tree of n nodes has n+1 ends; a corrupt one can have loops that
		// would not end in our time.
		if count++; count > d.reader.Metadata.NodeCount+1 {
			return v4, v6, errors.New("corrupt geo database: its search tree has more ends than nodes")
		}
		id, err := d.answer(result, g, decoded)
		if err != nil {
			return v4, v6, err
		}
		place(&v4, &v6, result.Prefix(), id)
	}
	return v4, v6, nil
}

// answer gives the number of a result's answer.
func (d *database) answer(result maxminddb.Result, g *geo, decoded map[uintptr]uint32) (uint32, error) {
	if err := result.Err(); err != nil {
		return 0, fmt.Errorf("corrupt geo database: %w", err)
	}
	if !result.Found() {
		return 0, nil
	}
	if id, ok := decoded[result.Offset()]; ok {
		return id, nil
	}
	r, err := d.read(result)
	if err != nil {
		return 0, fmt.Errorf("geo database: record of %s: %w", result.Prefix(), err)
	}
	id := g.reduce(r)
	decoded[result.Offset()] = id
	return id, nil
}

// place puts a network of a database into the layer of its family.
func place(v4, v6 *layer, p netip.Prefix, id uint32) {
	if p.Addr().Is4() {
		v4.cover(keyOf(p.Addr()), p.Bits(), id)
		return
	}
	// A record above ::/96, where databases keep IPv4, is for all of IPv4.
	if p.Addr().IsUnspecified() && p.Bits() < 96 {
		v4.cover(key{}, 0, id)
	}
	v6.cover(keyOf(p.Addr()), p.Bits(), id)
}

// lookup gives what the database says of one address, as layers laid it out.
func (d *database) lookup(a netip.Addr) (*record, netip.Prefix, error) {
	if a.Is6() && d.reader.Metadata.IPVersion == 4 {
		return new(record), netip.Prefix{}, nil
	}
	for _, alias := range d.aliases {
		if alias.Contains(a) {
			return new(record), alias, nil
		}
	}
	result := d.reader.Lookup(a)
	network := result.Prefix()
	if a.Is6() && network.Bits() >= 96 && ipv4Part.Contains(a) {
		return new(record), ipv4Part, nil
	}
	if !result.Found() {
		return new(record), network, result.Err()
	}
	r, err := d.read(result)
	return r, network, err
}

// ipv4Part is where IPv6 databases keep IPv4.
var ipv4Part = netip.MustParsePrefix("::/96")
