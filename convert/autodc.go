package convert

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// autoMap is a map that orders datacentres by distance. There is no such thing
// here, so the distances are worked out now, from the database as it is: each
// list of datacentres gets a file with the networks that have it.
type autoMap struct {
	dcs    []string
	coords [][2]float64 // latitude and longitude in degrees, of dcs
	limit  int          // of a list; 0: none
	lists  []*autoNets  // in the order in which the database has them
	byKey  map[string]*autoNets
}

// autoNets is the networks of one list.
type autoNets struct {
	dcs      []string
	prefixes []netip.Prefix
}

// readAuto reads coordinates and sorts every network of the database. It is nil
// if there is nothing to sort by.
func (g *gdnsd) readAuto(m *geoMap, coords *node, file string) *autoMap {
	a := &autoMap{limit: 3, byKey: map[string]*autoNets{}}
	if v := m.node.get("auto_dc_limit"); v != nil {
		if n, ok := v.number(); ok {
			a.limit = n
		}
	}
	for _, dc := range m.dcs {
		v := coords.get(dc)
		if v == nil {
			continue
		}
		at := [2]float64{}
		ok := len(v.list()) == 2
		for i, number := range v.list() {
			if ok {
				f, err := strconv.ParseFloat(number.text, 64)
				at[i], ok = f, err == nil && math.Abs(f) <= []float64{90, 180}[i]
			}
		}
		if !ok {
			g.lost(v.pos, m.what()+".auto_dc_coords "+dc, v.String()+" is no latitude and longitude", "")
			continue
		}
		a.dcs, a.coords = append(a.dcs, dc), append(a.coords, at)
	}
	data, err := g.src.ReadFile(file)
	if err == nil {
		err = a.walk(data)
	}
	if err != nil {
		g.lost(coords.pos, m.what()+".auto_dc_coords", "cannot read "+file+": "+reason(err).Error(), "")
		return a
	}
	g.differs(coords.pos, m.what()+".auto_dc_coords", "distances were worked out now, from the database as it is: networks stand in files under prefixes/", "convert again when the database is renewed")
	return a
}

// walk sorts the networks of a database with locations.
func (a *autoMap) walk(data []byte) error {
	reader, err := maxminddb.OpenBytes(data)
	if err != nil {
		return err
	}
	known := map[uintptr]*autoNets{}
	for result := range reader.Networks() {
		if err := result.Err(); err != nil {
			return err
		}
		nets, ok := known[result.Offset()]
		if !ok {
			var record struct {
				Location struct {
					Latitude  *float64 `maxminddb:"latitude"`
					Longitude *float64 `maxminddb:"longitude"`
				} `maxminddb:"location"`
			}
			if err := result.Decode(&record); err != nil {
				return err
			}
			if l := record.Location; l.Latitude != nil && l.Longitude != nil {
				nets = a.nearest([2]float64{*l.Latitude, *l.Longitude})
			}
			known[result.Offset()] = nets
		}
		if nets != nil {
			nets.add(result.Prefix())
		}
	}
	return nil
}

// nearest gives the networks that share their list with a location.
func (a *autoMap) nearest(at [2]float64) *autoNets {
	order := make([]int, len(a.dcs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		switch di, dj := distance(at, a.coords[i]), distance(at, a.coords[j]); {
		case di < dj:
			return -1
		case di > dj:
			return 1
		}
		return 0
	})
	if a.limit > 0 {
		order = order[:min(a.limit, len(order))]
	}
	var dcs []string
	for _, i := range order {
		dcs = append(dcs, a.dcs[i])
	}
	key := listKey(dcs)
	if a.byKey[key] == nil {
		a.byKey[key] = &autoNets{dcs: dcs}
		a.lists = append(a.lists, a.byKey[key])
	}
	return a.byKey[key]
}

// distance is the angle between two places on the sphere, by the haversine.
func distance(a, b [2]float64) float64 {
	const degree = math.Pi / 180
	s := func(x float64) float64 { return math.Pow(math.Sin(x*degree/2), 2) }
	h := s(a[0]-b[0]) + math.Cos(a[0]*degree)*math.Cos(b[0]*degree)*s(a[1]-b[1])
	return math.Asin(math.Min(1, math.Sqrt(h)))
}

// add adds the next network in ascending order, and joins halves.
func (n *autoNets) add(p netip.Prefix) {
	for len(n.prefixes) > 0 && p.Bits() > 0 {
		last := n.prefixes[len(n.prefixes)-1]
		whole := netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
		if last.Bits() != p.Bits() || last.Addr().Is4() != p.Addr().Is4() || !whole.Contains(last.Addr()) {
			break
		}
		n.prefixes = n.prefixes[:len(n.prefixes)-1]
		p = whole
	}
	n.prefixes = append(n.prefixes, p)
}

// autoPlaces writes the regions of places whose lists are by distance: one a
// list, and one for the networks whose location nobody knows.
func (g *gdnsd) autoPlaces(m *geoMap, l *geoList, nets, where string, everybody bool) {
	var known list
	for _, n := range m.auto.lists {
		isp := g.prefixFile(m.name+".auto."+strings.Join(n.dcs, "."), "the nearest of map "+m.name+" are "+strings.Join(n.dcs, ", "), n.prefixes)
		known = append(known, mapping{{"isp", isp}})
		r := append(region(l.places, everybody, nets), entry{"all", list{mapping{{"isp", isp}}}})
		name := g.name("region", m.name+".auto."+strings.Join(n.dcs, "."))
		g.regions = append(g.regions, block{where, append(mapping{{"name", name}}, r...)})
		g.rulesFor(m, name, n.dcs)
	}
	not := known
	if nets != "" {
		not = append(not, mapping{{"region", nets}})
	}
	if everybody && len(not) == 0 {
		g.rulesFor(m, "", m.dcs)
		return
	}
	r := region(l.places, everybody, "")
	if len(not) > 0 {
		r = append(r, entry{"not", not})
	}
	name := g.name("region", m.name+".unknown")
	g.regions = append(g.regions, block{where + ": no location is known", append(mapping{{"name", name}}, r...)})
	g.rulesFor(m, name, m.dcs)
}
