package api

import "github.com/portolan-lb/portolan/proximity"

// Nothing here has a network as a label: there may be a hundred thousand.
var (
	proximityEntries   = gauge("proximity_entries", "Client networks in the table of measured distances, by state.", "state")
	proximityMost      = gauge("proximity_max_entries", "The most that there may be (proximity.maxEntries).")
	proximityMade      = counter("proximity_entries_total", "Entries by what became of them: made, restored from the run before, aged, cleared by command.", "event")
	proximityRefused   = counter("proximity_refused_total", "Queries whose network was not entered: the table is full, or more than newPerSecond came.", "reason")
	proximityProbes    = counter("proximity_probes_total", "Measurements of one link by method and outcome: answered, silent, failed (the network said no), void (ours: no capability, no descriptors).", "method", "outcome")
	proximityPackets   = counter("proximity_packets_total", "Packets that measuring was allowed to send, by method.", "method")
	proximityDropped   = counter("proximity_dropped_total", "Measurements and samples that were dropped, by reason.", "reason")
	proximitySamples   = counter("proximity_samples_total", "Distances that were taken into the table, by source: a method, or passive for clients' own TCP connections.", "source")
	proximitySolicited = counter("proximity_solicited_total", "UDP queries answered by TC alone, so that the client comes over TCP (proximity.passive.solicit).")
)

// entryStates are shown whether there are such entries or not, so that a graph
// does not lose a line.
var entryStates = []string{proximity.Warming.String(), proximity.Ready.String(), proximity.Off.String()}

func (c collector) collectProximity(emit emitter) {
	s := c.opts.Proximity.Stats()
	states := map[string]int{}
	for _, state := range entryStates {
		states[state] = 0
	}
	for state, n := range s.Table.States {
		states[state] = n
	}
	for state, n := range states {
		emit.put(proximityEntries, float64(n), state)
	}
	emit.put(proximityMost, float64(s.Table.Max))
	emit.put(proximityMade, float64(s.Table.Made), "made")
	emit.put(proximityMade, float64(s.Table.Restored), "restored")
	emit.put(proximityMade, float64(s.Table.Aged), "aged")
	emit.put(proximityMade, float64(s.Table.Cleared), "cleared")
	emit.put(proximityRefused, float64(s.Table.RefusedFull), "full")
	emit.put(proximityRefused, float64(s.Table.RefusedRate), "rate")
	for method, m := range s.Probes.Methods {
		emit.put(proximityProbes, float64(m.Answered), method, "answered")
		emit.put(proximityProbes, float64(m.Silent), method, "silent")
		emit.put(proximityProbes, float64(m.Failed), method, "failed")
		emit.put(proximityProbes, float64(m.Void), method, "void")
		emit.put(proximityPackets, float64(m.Packets), method)
		emit.put(proximitySamples, float64(m.Answered), method)
	}
	emit.put(proximitySamples, float64(s.Table.Heard), "passive")
	for reason, n := range s.dropped() {
		emit.put(proximityDropped, float64(n), reason)
	}
	emit.put(proximitySolicited, float64(s.Passive.Solicited))
}

// dropped puts together why measurements, and samples of clients' connections,
// came to nothing.
func (s *ProximityStats) dropped() map[string]uint64 {
	all := map[string]uint64{
		"late": s.Table.Late, "unowned": s.Passive.Unowned, "unasked": s.Passive.Unasked,
		"unsure": s.Connections["unsure"], "unknown": s.Connections["unknown"], "near": s.Connections["near"],
	}
	for reason, n := range s.Probes.Refused {
		all[reason] = n
	}
	return all
}
