package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Counter is how many octets have gone through an interface since it was made,
// with the headers of its link layer.
type Counter struct {
	In, Out uint64
}

// Counters puts the counters of all interfaces, by index, into a map, which is
// cleared before. It is cheap enough to be called every second: the kernel is
// asked for the 64-bit counters and nothing else, once for all interfaces.
func (r *Reader) Counters(into map[int]Counter) error {
	if !r.noStats.Load() {
		err := r.statsOf(into)
		if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) {
			return wrapped("counters", err)
		}
		r.noStats.Store(true) // before Linux 4.7
	}
	return wrapped("counters", r.linkStats(into))
}

func wrapped(what string, err error) error {
	if err != nil {
		return fmt.Errorf("reading %s: %w", what, err)
	}
	return nil
}

// statsOf asks RTM_GETSTATS.
func (r *Reader) statsOf(into map[int]Counter) error {
	body := make([]byte, sizeofStatsMessage)
	native.PutUint32(body[8:], 1<<(unix.IFLA_STATS_LINK_64-1))
	return dump(r.counts, unix.NETLINK_ROUTE, unix.RTM_GETSTATS, body, unix.RTM_NEWSTATS, func() { clear(into) }, func(b []byte) {
		if index, c, ok := parseStats(b); ok {
			into[index] = c
		}
	})
}

// linkStats takes the counters from a list of all that is known of interfaces.
func (r *Reader) linkStats(into map[int]Counter) error {
	body := make([]byte, unix.SizeofIfInfomsg)
	return dump(r.counts, unix.NETLINK_ROUTE, unix.RTM_GETLINK, body, unix.RTM_NEWLINK, func() { clear(into) }, func(b []byte) {
		if m, ok := parseLink(b); ok {
			if c, ok := octets(m.stats); ok {
				into[m.index] = c
			}
		}
	})
}
