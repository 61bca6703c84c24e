package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/status"
)

// logEvents writes what happens to the log: a line for each change of a virtual
// server, link, site or pool, loudly where answers suffer. It reads the board's
// events, so a log that stalls delays nobody.
func (d *Daemon) logEvents(ctx context.Context) error {
	moved := make(chan struct{}, 1)
	cancel := d.board.Prepare(func(*status.Table, []status.ID) {
		select {
		case moved <- struct{}{}:
		default: // it will see this change too
		}
	})
	defer cancel()
	look := time.NewTicker(time.Second) // for events that are no change of a row
	defer look.Stop()
	states := map[string]string{}
	last := uint64(0)
	for {
		d.notePools(states)
		for _, e := range d.board.Events(last) {
			last = e.Seq
			d.logEvent(e)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-moved:
		case <-look.C:
		}
	}
}

// notePools makes events of pools whose state changed since the last look.
func (d *Daemon) notePools(states map[string]string) {
	var rows *status.Table
	d.board.Still(func(t *status.Table) { rows = t }) // the hook that woke us runs before its table is there
	table := d.dns.Table()
	for pool, state := range table.PoolStates(rows) {
		if was := states[pool]; was != state && (was != "" || state != "up") {
			why := poolWhy[state]
			switch {
			case state == "busy":
				why += ": " + listOf(table.LapsedBy(pool, rows))
			case was == "busy" && state == "up":
				why = "busy protection works again: not all are busy any more"
			}
			d.board.Record(status.Event{ID: status.MakeID(status.KindPool, pool), Old: was, New: state, Why: why, By: "daemon"})
		}
		states[pool] = state
	}
}

// poolWhy says what a pool's state means for its names.
var poolWhy = map[string]string{
	"down":    "no usable member: onDown decides the answers",
	"held":    "every member is held: NODATA",
	"full":    "every member is at its limit: onDecline decides the answers",
	"busy":    "all that take part are busy, so busy protection has lapsed",
	"waiting": "a first probe result is still to come: SERVFAIL",
	"up":      "members take part",
}

// listOf names rows, the first eight of them.
func listOf(ids []status.ID) string {
	const shown = 8
	var names []string
	for _, id := range ids[:min(len(ids), shown)] {
		names = append(names, string(id))
	}
	if more := len(ids) - shown; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

func (d *Daemon) logEvent(e status.Event) {
	level := slog.LevelInfo
	switch {
	case e.ID.Kind() == status.KindProbe && e.New == status.Unknown.String():
		level = slog.LevelWarn // a probe that cannot run says nothing
	case e.ID.Kind() == status.KindProbe, e.ID.Kind() == "zone": // the zone's was logged at once
		level = slog.LevelDebug // a probe's virtual server, link or site tells
	case e.By == "daemon" && e.New != "up" && e.New != "waiting", e.New == status.Down.String():
		level = slog.LevelWarn
	}
	d.log.Log(context.Background(), level, "change", "of", e.ID, "from", e.Old, "to", e.New, "why", e.Why, "by", e.By)
}
