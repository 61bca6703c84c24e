package topology

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
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
	d.findAliases()
	return d, d.readLayout()
}

// networks walks the whole database in ascending order, without aliases. It
// includes networks without data, and ends with an error.
//
// maxminddb can leave out aliases itself, but knows them by their pointer: it
// would leave out others where one record is for all of IPv4, and never come
// back from a corrupt tree that is all aliases.
func (d *database) networks() iter.Seq2[maxminddb.Result, error] {
	return func(yield func(maxminddb.Result, error) bool) {
		// A tree of n nodes has n+1 ends, and writers repeat IPv4's a few
		// times; a corrupt one that meets itself would not end in our time.
		left := 8 * (d.reader.Metadata.NodeCount + 1)
		for result := range d.reader.Networks(everyNetwork...) {
			err := result.Err()
			if left--; left == 0 && err == nil {
				err = errors.New("the search tree meets itself")
			}
			if err != nil {
				yield(result, fmt.Errorf("corrupt geo database: %w", err))
				return
			}
			if d.aliasOf(result.Prefix().Addr()).IsValid() {
				continue
			}
			if !yield(result, nil) {
				return
			}
		}
	}
}

// readLayout tells the layout from the first records.
func (d *database) readLayout() error {
	sampled := map[uintptr]bool{}
	for result, err := range d.networks() {
		if err != nil {
			return err
		}
		if !result.Found() || sampled[result.Offset()] {
			continue
		}
		var fields map[string]any
		if err := result.Decode(&fields); err != nil {
			return fmt.Errorf("geo database: record of %s: %w", result.Prefix(), err)
		}
		d.layout.note(fields)
		sampled[result.Offset()] = true
		if len(sampled) == layoutSample {
			break
		}
	}
	if d.layout == (layout{}) {
		return errors.New("geo database has no field known here: want MaxMind's layout, or country_code, asn and the like")
	}
	return nil
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

// everyNetwork makes walks visit every end of the search tree.
var everyNetwork = []maxminddb.NetworksOption{maxminddb.IncludeNetworksWithoutData(), maxminddb.IncludeAliasedNetworks()}

// aliasNetworks are where writers repeat IPv4.
var aliasNetworks = []netip.Prefix{
	netip.MustParsePrefix("::ffff:0:0/96"), netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("2002::/16"),
}

// findAliases tells which IPv6 networks repeat the database's IPv4 part. They
// are left out: a client behind 6to4 or Teredo is not where its IPv4 part is.
func (d *database) findAliases() {
	if d.reader.Metadata.IPVersion != 6 {
		return
	}
	ipv4 := d.firstEnds(ipv4Part)
	if len(ipv4) == 0 || ipv4[0].depth < 0 {
		return // one record is for IPv4 and more
	}
	for _, p := range aliasNetworks {
		if slices.Equal(d.firstEnds(p), ipv4) {
			d.aliases = append(d.aliases, p)
		}
	}
}

// end is an end of the search tree: its depth below a network, and its record.
type end struct {
	depth  int
	record uintptr
}

// firstEnds gives so many ends within p that no other network has the same, at
// least one.
func (d *database) firstEnds(p netip.Prefix) []end {
	var ends []end
	for result := range d.reader.NetworksWithin(p, everyNetwork...) {
		network := result.Prefix()
		depth := network.Bits() - p.Bits()
		if network.Addr().Is4() {
			depth = network.Bits()
		}
		if ends = append(ends, end{depth, result.Offset()}); len(ends) == 1000 || depth < 0 {
			break
		}
	}
	return ends
}

// aliasOf gives the alias that an address lies in, or the zero prefix.
func (d *database) aliasOf(a netip.Addr) netip.Prefix {
	for _, alias := range d.aliases {
		if alias.Contains(a) {
			return alias
		}
	}
	return netip.Prefix{}
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
	for result, err := range d.networks() {
		if err != nil {
			return v4, v6, err
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
	if alias := d.aliasOf(a); alias.IsValid() {
		return new(record), alias, nil
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
