package traffic

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/topology"
)

// Matcher writes what traffic must be like, into the table of its [Builder]. Its
// fields are set before it writes anything.
type Matcher struct {
	*Builder
	Classes  map[string]*config.Class // by name, for those that classes name
	Topology *topology.Table          // knows the addresses of ISPs, autonomous systems and countries; nil: it knows none
	Far      End                      // the end that those of a class are about
	Now      time.Time                // for the times of classes, see [NextChange]
}

// Class gives the condition of a class for packets of one family. A class that
// is not there matches nothing, and so does what a class asks of requests of
// HTTP: connections have none yet (FAQ 1.1.10).
func (m *Matcher) Class(k *config.Class, f Family) Condition { return m.class(k, f, 0) }

// class is [Matcher.Class]; within is how many classes it stands in.
func (m *Matcher) class(k *config.Class, f Family, within int) Condition {
	const loop = 64 // the configuration has none
	if k == nil || within > loop {
		return Never
	}
	name := Word(k.Name)
	var lists []Condition
	if len(k.Sources) > 0 {
		lists = append(lists, m.Inside(f.Source, "class_"+name+"_from"+f.Digit, f, RangesOf(f, k.Sources...)))
	}
	if len(k.Destinations) > 0 {
		lists = append(lists, m.Inside(f.Dest, "class_"+name+"_to"+f.Digit, f, RangesOf(f, k.Destinations...)))
	}
	lists = append(lists, m.places(k, f)...)
	if len(k.Services) > 0 {
		lists = append(lists, m.Services("class_"+name, k.Services, f))
	}
	if len(k.Interfaces) > 0 {
		lists = append(lists, m.interfaces("class_"+name+"_in", k.Interfaces))
	}
	if k.HTTP != nil {
		lists = append(lists, Never)
	}
	if len(k.Times) > 0 {
		lists = append(lists, constant(slices.ContainsFunc(k.Times, func(s *config.Schedule) bool { return s.Holds(m.Now) })))
	}
	if len(k.Classes) > 0 {
		var inner []Condition
		for _, other := range k.Classes {
			inner = append(inner, m.class(m.Classes[other], f, within+1))
		}
		lists = append(lists, Some(inner...))
	}
	if k.Match == config.MatchAny {
		return Some(lists...)
	}
	return All(lists...)
}

// places gives the conditions of ISPs, autonomous systems and countries, which
// share one set each, however many classes name them.
func (m *Matcher) places(k *config.Class, f Family) (lists []Condition) {
	if m.Topology == nil {
		if len(k.ISPs)+len(k.ASNs)+len(k.Countries) > 0 {
			lists = append(lists, Never) // nothing is known of them
		}
		return lists
	}
	add := func(n int, one func(i int) (string, []config.AddressRange, []config.AddressRange)) {
		var list []Condition
		for i := range n {
			name, v4, v6 := one(i)
			ranges := [2][]config.AddressRange{v4, v6}[f.Index]
			list = append(list, m.Inside(f.At(m.Far), name+"_"+f.Digit, f, ranges))
		}
		if n > 0 {
			lists = append(lists, Some(list...))
		}
	}
	add(len(k.ISPs), func(i int) (string, []config.AddressRange, []config.AddressRange) {
		v4, v6, _ := m.Topology.ISP(k.ISPs[i])
		return "isp_" + Word(k.ISPs[i]), v4, v6
	})
	add(len(k.ASNs), func(i int) (string, []config.AddressRange, []config.AddressRange) {
		v4, v6, _ := m.Topology.ASN(k.ASNs[i])
		return fmt.Sprint("asn_", k.ASNs[i]), v4, v6
	})
	add(len(k.Countries), func(i int) (string, []config.AddressRange, []config.AddressRange) {
		v4, v6, _ := m.Topology.Country(k.Countries[i])
		return "country_" + Word(k.Countries[i]), v4, v6
	})
	return lists
}

func (m *Matcher) interfaces(set string, names []string) Condition {
	if len(names) == 1 {
		return Test{kernel.Is{Of: kernel.InName, To: kernel.Name(names[0])}}
	}
	var list []kernel.Element
	for _, n := range names {
		list = append(list, kernel.Element{Key: kernel.Name(n)})
	}
	return Test{kernel.In{Key: kernel.InName, Set: m.Fix(kernel.Set{Name: set, Key: []kernel.Type{kernel.TypeName}}, list)}}
}

// NextChange gives the moment after now when a class begins or ceases to match
// by its times, so that what a [Matcher] wrote is to be written anew; the zero
// Time: never. Times are of whole minutes.
func NextChange(classes []*config.Class, now time.Time) time.Time {
	var all []*config.Schedule
	for _, k := range classes {
		all = append(all, k.Times...)
	}
	if len(all) == 0 {
		return time.Time{}
	}
	is := func(at time.Time) string {
		var text strings.Builder
		for _, s := range all {
			fmt.Fprint(&text, s.Holds(at), " ")
		}
		return text.String()
	}
	first := is(now)
	minute := now.Truncate(time.Minute)
	for range 8 * 24 * 60 { // a week and a day: clocks may be put back
		if minute = minute.Add(time.Minute); is(minute) != first {
			return minute
		}
	}
	return time.Time{}
}
