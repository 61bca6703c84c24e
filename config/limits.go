package config

import (
	"iter"
	"reflect"
	"time"
)

// Limits bound what clients and zone files can take of this server. A limit
// that is reached costs the client or the file that reaches it, never the
// others; docs/manual/limits.md says how. A change holds from the next
// connection, query or file on.
type Limits struct {
	Connections          int      `yaml:"connections" json:"connections"`                   // TCP connections open at once, 1 to 1000000 (default 1000); never more than 80 % of the descriptors that the process may have
	ConnectionsPerClient int      `yaml:"connectionsPerClient" json:"connectionsPerClient"` // of them from one IPv4 address or IPv6 /64, 1 to 1000000 (default 50); four times that from an IPv6 /48
	QueriesPerConnection int      `yaml:"queriesPerConnection" json:"queriesPerConnection"` // queries of one TCP connection that are answered at the same time, 1 to 1000 (default 16)
	ConnectionQueries    int      `yaml:"connectionQueries" json:"connectionQueries"`       // queries of one TCP connection in all, then it is closed, 0 to 1000000000 (default 0, no bound)
	ConnectionTime       Duration `yaml:"connectionTime" json:"connectionTime"`             // how long a TCP connection lives, however busy, 0s to 168h (default 0s, no bound)
	IdleTimeout          Duration `yaml:"idleTimeout" json:"idleTimeout"`                   // for the next whole query on a TCP connection, 100ms to 1h (default 10s); a tenth of it above 80 % of the connections
	WriteTimeout         Duration `yaml:"writeTimeout" json:"writeTimeout"`                 // for a client to take its answers over TCP, 100ms to 10m (default 5s)
	ConnectionBuffer     Size     `yaml:"connectionBuffer" json:"connectionBuffer"`         // of answers that wait for the client of a TCP connection, 4KiB to 16MiB (default 64KiB), and one message more; the kernel holds about as much of them, and of queries
	UDPBuffer            Size     `yaml:"udpBuffer" json:"udpBuffer"`                       // of the kernel for queries that wait on one UDP socket, 4KiB to 1GiB (default 4MiB); net.core.rmem_max bounds it too
	CNAMEChain           int      `yaml:"cnameChain" json:"cnameChain"`                     // aliases that one answer follows, 1 to 32 (default 8)
	AdditionalNames      int      `yaml:"additionalNames" json:"additionalNames"`           // names whose addresses an answer brings along, 0 to 100 (default 13)
	AdditionalRecords    int      `yaml:"additionalRecords" json:"additionalRecords"`       // addresses that an answer brings along, 0 to 1000 (default 64)
	ReferralGlue         int      `yaml:"referralGlue" json:"referralGlue"`                 // addresses that a delegation brings along, 0 to 1000 (default 20); those it cannot be followed without do not count (RFC 9471)

	Zones int `yaml:"zones" json:"zones"` // zones of the server, of a folder and added by command too, 1 to 10000000 (default 1000000)

	Zone ZoneLimits `yaml:"zone" json:"zone"`
}

// ZoneLimits bound the files of one zone, so that a mistake does not take the
// memory of the whole server. A file that exceeds one is bad: the zone's last
// good version stays.
type ZoneLimits struct {
	Records          int  `yaml:"records" json:"records"`                   // of the zone, 1 to 2000000000 (default 20000000)
	FileSize         Size `yaml:"fileSize" json:"fileSize"`                 // of one file, 1KiB to 64GiB (default 1GiB)
	EntrySize        Size `yaml:"entrySize" json:"entrySize"`               // of one record as written, with its comments, 1KiB to 1GiB (default 1MiB)
	SetSize          Size `yaml:"setSize" json:"setSize"`                   // of the records of one name and type without compression, 512B to 60000B (default 60000B, which fits one message)
	Includes         int  `yaml:"includes" json:"includes"`                 // files of one zone, 1 to 65000 (default 1000)
	IncludeDepth     int  `yaml:"includeDepth" json:"includeDepth"`         // files inside each other, 1 to 100 (default 8)
	GeneratedRecords int  `yaml:"generatedRecords" json:"generatedRecords"` // that all $GENERATE lines of a zone make, 0 to 2000000000 (default 1048576)
	NameServers      int  `yaml:"nameServers" json:"nameServers"`           // of one delegation, 1 to 1000 (default 13); more are only warned about, for they are answered whole or not at all (RFC 2181)
}

// DefaultLimits gives the limits of a server that is told nothing else.
func DefaultLimits() Limits {
	var l Limits
	l.defaults()
	return l
}

func (l *Limits) defaults() {
	*l = Limits{
		Connections: 1000, ConnectionsPerClient: 50, QueriesPerConnection: 16,
		IdleTimeout: Duration(10 * time.Second), WriteTimeout: Duration(5 * time.Second),
		ConnectionBuffer: 64 << 10, UDPBuffer: 4 << 20, CNAMEChain: 8, AdditionalNames: 13, AdditionalRecords: 64,
		ReferralGlue: 20, Zones: 1_000_000,
	}
	l.Zone.defaults()
}

func (z *ZoneLimits) defaults() {
	*z = ZoneLimits{
		Records: 20_000_000, FileSize: 1 << 30, EntrySize: 1 << 20, SetSize: 60_000,
		Includes: 1000, IncludeDepth: 8, GeneratedRecords: 1 << 20, NameServers: 13,
	}
}

func (l *Limits) check(c *checker) {
	between(c, &l.Connections, 1, 1_000_000)
	between(c, &l.ConnectionsPerClient, 1, 1_000_000)
	between(c, &l.QueriesPerConnection, 1, 1000)
	between(c, &l.ConnectionQueries, 0, 1_000_000_000)
	between(c, &l.ConnectionTime, 0, Duration(168*time.Hour))
	between(c, &l.IdleTimeout, Duration(100*time.Millisecond), Duration(time.Hour))
	between(c, &l.WriteTimeout, Duration(100*time.Millisecond), Duration(10*time.Minute))
	between(c, &l.ConnectionBuffer, 4<<10, 16<<20)
	between(c, &l.UDPBuffer, 4<<10, 1<<30)
	between(c, &l.CNAMEChain, 1, 32)
	between(c, &l.AdditionalNames, 0, 100)
	between(c, &l.AdditionalRecords, 0, 1000)
	between(c, &l.ReferralGlue, 0, 1000)
	between(c, &l.Zones, 1, 10_000_000)
	l.Zone.check(c)
}

func (z *ZoneLimits) check(c *checker) {
	between(c, &z.Records, 1, 2_000_000_000)
	between(c, &z.FileSize, 1<<10, 64<<30)
	between(c, &z.EntrySize, 1<<10, 1<<30)
	between(c, &z.SetSize, 512, 60_000)
	between(c, &z.Includes, 1, 65_000)
	between(c, &z.IncludeDepth, 1, 100)
	between(c, &z.GeneratedRecords, 0, 2_000_000_000)
	between(c, &z.NameServers, 1, 1000)
}

// All gives each limit by its key below dns.limits ("connections",
// "zone.records") in a number: of things, of seconds or of bytes. The keys are
// the names of limits wherever they are spoken of: in metrics, in the manual.
func (l *Limits) All() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) { eachLimit("", reflect.ValueOf(*l), yield) }
}

func eachLimit(prefix string, v reflect.Value, yield func(string, float64) bool) bool {
	for i := range v.NumField() {
		key, f := prefix+v.Type().Field(i).Tag.Get("yaml"), v.Field(i)
		var n float64
		switch value := f.Interface().(type) {
		case ZoneLimits:
			if !eachLimit(key+".", f, yield) {
				return false
			}
			continue
		case Duration:
			n = time.Duration(value).Seconds()
		default:
			n = float64(f.Int())
		}
		if !yield(key, n) {
			return false
		}
	}
	return true
}
