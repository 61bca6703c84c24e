package convert

import (
	"github.com/oschwald/maxminddb-golang/v2"
)

// levels are what a database says of a network, in the order of a map's tree.
// gdnsd reads MaxMind's layout alone.
type levels struct{ continents, countries, subdivisions, cities bool }

// maxRecords bounds how many records are looked at for a level that none of
// them has.
const maxRecords = 200_000

// levelsOf tells which levels some record of a database has.
func levelsOf(data []byte) (l levels, err error) {
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		return l, err
	}
	seen := map[uintptr]bool{}
	for result := range reader.Networks() {
		if err := result.Err(); err != nil {
			return l, err
		}
		if seen[result.Offset()] {
			continue
		}
		seen[result.Offset()] = true
		var record map[string]any
		if err := result.Decode(&record); err != nil {
			return l, err
		}
		l.note(record)
		if l == (levels{true, true, true, true}) || len(seen) == maxRecords {
			break
		}
	}
	return l, nil
}

func (l *levels) note(record map[string]any) {
	inner := func(v any, key string) bool {
		m, ok := v.(map[string]any)
		return ok && m[key] != nil
	}
	l.continents = l.continents || inner(record["continent"], "code")
	l.countries = l.countries || inner(record["country"], "iso_code")
	if city, ok := record["city"].(map[string]any); ok {
		l.cities = l.cities || inner(city["names"], "en")
	}
	if list, ok := record["subdivisions"].([]any); ok {
		for _, s := range list {
			l.subdivisions = l.subdivisions || inner(s, "iso_code")
		}
	}
}

// lacks names what a key of the tree at a level needs and the database has not,
// or nothing.
func (l levels) lacks(level int, key string) string {
	switch {
	case level == 0 && !l.continents:
		return "continents"
	case level == 1 && !l.countries:
		return "countries"
	case level >= 2 && isCode(key) && !l.subdivisions:
		return "subdivisions"
	case level >= 2 && !isCode(key) && !l.cities:
		return "cities"
	}
	return ""
}
