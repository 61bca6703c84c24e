package link

import (
	"net/netip"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// State is how a link stands, for people to read.
type State struct {
	Name string
	Row  *status.Row // its row: health, busy or shed, since when and why, hold

	Interface string // its name; "": the link has none here
	Index     int    // 0: there is none of that name
	Up        bool   // the interface carries something
	Why       string // why it does not
	Speed     uint64 // of the interface, bits a second; 0: not known
	Addresses []netip.Prefix

	Way  Way
	Cost int
	Site string

	Meter        string        // interface, snmp, push; "": nothing meters it
	Window       time.Duration // rates are means over it
	Measured     time.Time     // when the last sample was taken, or pushed; zero: none was
	Error        string        // with which the meter failed last; "": it did not
	Rates        busy.Rates    // bits a second, of the last tick; NaN: not known
	Rule         busy.Rule     // thresholds and recoveries, bits a second; 0: none
	MaxBandwidth config.Bandwidths
	RateLimit    config.Bandwidths
	Changes      uint64 // how often it became busy or free, or shed another number of slices
	Sheds        bool   // it sheds slices of clients instead of being busy
}

// States gives how all links stand, in the order of the configuration.
func (l *Links) States() []State {
	l.mu.Lock()
	defer l.mu.Unlock()
	table, ways := l.board.Table(), l.seen.Load().ways
	states := make([]State, len(l.links))
	for i, k := range l.links {
		s := &states[i]
		*s = State{
			Name: k.spec.Name, Row: table.Row(k.id), Way: ways[k.spec.Name], Cost: k.spec.Cost, Site: k.spec.Site,
			Interface: k.spec.Interface,
			Meter:     k.spec.Meter.From, Window: time.Duration(k.spec.Busy.Window), Measured: k.meter.last(),
			Error: k.failed, Rates: k.rates, Rule: k.rule, MaxBandwidth: k.spec.MaxBandwidth, RateLimit: k.spec.RateLimit, Sheds: k.sheds(), Changes: k.changes,
		}
		switch {
		case s.Interface == "":
		case l.opts.Kernel == nil:
			s.Why = "this server cannot read interfaces"
		case k.gone != "":
			s.Why = k.gone
		default:
			s.Index, s.Up, s.Why, s.Speed, s.Addresses = k.nic.Index, k.nic.Up, k.nic.Why, k.nic.Speed, slices.Clone(k.nic.Addresses)
		}
		if s.Meter == config.MeterInterface {
			s.Error = l.failing[readingCounters]
		}
	}
	return states
}

// last is when the meter was given something last.
func (m *meter) last() time.Time {
	if m.maxAge > 0 || len(m.ring) == 0 {
		return m.toldAt
	}
	return m.ring[len(m.ring)-1].At
}
