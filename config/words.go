package config

import "slices"

// vocabulary is the set of words that a value may be.
type vocabulary struct {
	built []string
	later map[string]string // word to the module that it waits for
}

// vocabularies holds them by the name that a field's `words` tag gives. Lines
// "word: meaning" above an entry go into docs/configuration.md.
var vocabularies = map[string]vocabulary{
	// round-robin: in turn, by weight
	// random: by lot; weights do not count unless weighted is true
	// first: the first of the highest priority, in the order of the file
	// source-hash: a client network keeps its member; losing a member moves only its own clients
	// topology: the places that the topology rules prefer for the client; chooses nobody if there are none
	// bandwidth: in turn, by weight times what remains of the member's link below its rateLimit; chooses nobody if that is known of none
	// max-bandwidth: the member of whose link most remains below its rateLimit; chooses nobody if that is known of none
	// least-connections: the member that reports the fewest connections; chooses nobody if none reports them
	// weighted-least-connections: the fewest for its weight
	// least-time: the member that reports the shortest time to a first byte; chooses nobody if none reports it
	// proximity: the members on the link that is nearest to the client's network, as measured; chooses nobody before the network's warm-up is over, nor where nothing is measured
	// cost: the member whose link has the lowest cost; chooses nobody if none has a link
	"algorithm": {
		built: []string{"round-robin", "random", "first", "source-hash", "topology", "bandwidth", "max-bandwidth",
			"least-connections", "weighted-least-connections", "least-time", "cost", "proximity"},
	},
	"tie": {built: []string{"round-robin", "random", "first", "source-hash", "bandwidth", "max-bandwidth",
		"least-connections", "weighted-least-connections", "least-time", "cost"}},
	"direction": {built: []string{"total", "in", "out"}},
	// meter: the meter of the link
	"from": {built: []string{"meter"}, later: map[string]string{"traffic": "outbound"}},
	// interface: the interface of the link, each second
	// push: whoever knows says so (portolan report)
	"meter": {built: []string{"interface", "push"}},
	// all: no client is sent to it until it is free again
	// hash-slices: as few clients as need be, always the same ones, with the TTL of answers in mind
	"shed":        {built: []string{"all", "hash-slices"}},
	"snmpVersion": {built: []string{"2c", "3"}},
	"snmpAuth":    {built: []string{"md5", "sha", "sha256", "sha512"}},
	"snmpPriv":    {built: []string{"des", "aes", "aes256"}},
	// icmp: an echo request; its time, and the routers on the way by the reply's TTL
	// tcp: a connection that is closed at once; a refusal counts as well
	// dns: a question, which a resolver answers or refuses
	// udp: datagrams that die on the way; the nearest router in the client's network answers for it
	"method":     {built: []string{"icmp", "tcp", "dns", "udp"}},
	"spill":      {built: []string{"down", "busy", "full"}},
	"ipProtocol": {built: []string{"any", "tcp", "udp", "icmp", "sctp", "dccp", "udplite", "gre", "esp", "ah"}},
	// all: all of the lists that are given
	// any: one of them
	"classMatch":    {built: []string{"all", "any"}},
	"policyAction":  {built: []string{"forward", "drop"}},
	"helper":        {built: []string{"ftp", "sip", "tftp"}},
	"actionFailure": {built: []string{"drop", "continue"}},
	"actionBusy":    {built: []string{"lapse", "continue"}},
	"linkAlgorithm": {built: []string{"round-robin", "random", "least-connections", "weighted-least-connections",
		"source-hash", "destination-hash", "source-destination-hash", "source-port-hash", "bandwidth", "max-bandwidth"}},
	"linkFailure": {built: []string{"keep", "reschedule", "reset"}},
	"snat":        {built: []string{"masquerade", "none"}},
	// source: they come from the same client
	// source-port: from the same client and port; slb alone
	// destination: they go to the same host; slb alone
	// source-destination: from the same client to the same host
	// cookie: HTTP requests carry the same cookie; not in effect on virtual servers of type tcp, udp and ip
	// header: HTTP requests carry the same header; likewise
	// url: HTTP requests are for the same URL; likewise
	// ssl-session: they resume the same TLS session; likewise
	"persistenceBy": {built: []string{"source", "source-port", "destination", "source-destination",
		"cookie", "header", "url", "ssl-session"}},
	"serveType": {built: []string{"tcp", "udp", "ip"}, later: map[string]string{
		"http": "slb/l7", "https": "slb/l7", "fast-http": "slb/l7", "http-redirect": "slb/l7", "radius": "slb/l7",
		"sip-tcp": "slb/l7", "sip-udp": "slb/l7", "mysql": "slb/l7", "diameter": "slb/l7"}},
	"farmAlgorithm": {built: []string{"round-robin", "random", "source-hash", "source-port-hash", "destination-hash",
		"least-connections", "weighted-least-connections", "member-least-connections", "member-weighted-least-connections",
		"least-time", "bandwidth", "max-bandwidth"}},
	"onFailure":  {built: []string{"keep", "reschedule", "reset"}},
	"onBusy":     {built: []string{"drop", "queue", "force"}},
	"farmMode":   {built: []string{"nat", "routed", "direct"}},
	"farmAction": {built: []string{"drop"}},
	"policyKind": {built: []string{"generic", "http"}},
	// source: each client
	// destination: each host that they go to
	// service: each protocol and port that they go to
	"limitPer": {built: []string{"source", "destination", "service"}},
	// pass: it goes to whom the client asked, as if there were no proxy
	// drop: it gets no answer
	"dnsAction": {built: []string{"pass", "drop"}},
	// servfail: the client gets SERVFAIL
	// continue: the next policy has its turn
	"dnsFailure": {built: []string{"servfail", "continue"}},
	// nxdomain: there is no such name
	// nodata: the name has no data of the type asked for
	// refused: we do not answer that
	"dnsAnswer": {built: []string{"nxdomain", "nodata", "refused"}},
	// round-robin: in turn, by weight
	// random: by lot; weights do not count
	// source-hash: a client keeps its server; losing a server moves only its own clients; weights do not count
	// bandwidth: in turn, by weight times what remains of the server's link below its rateLimit
	// max-bandwidth: the server of whose link most remains below its rateLimit, the first in the file of several
	"dnsServerAlgorithm": {built: []string{"round-robin", "random", "source-hash", "bandwidth", "max-bandwidth"}},
	// udp: plain DNS, by TCP when an answer is truncated
	// tcp: plain DNS over TCP
	// tls: DNS over TLS (RFC 7858)
	// https: DNS over HTTPS (RFC 8484)
	"dnsTransport": {built: []string{"udp", "tcp", "tls", "https"}},
	"action":       {built: []string{"refuse", "drop"}},
	"onDecline":    {built: []string{"refused", "servfail", "nodata", "drop", "any"}},
	"rung":         {built: []string{"last-good", "all", "nodata", "servfail", "refused", "drop"}},
	"protocol": {
		built: []string{"udp", "tcp"},
		later: map[string]string{"tls": "dnsserver/tls", "https": "dnsserver/https", "quic": "dnsserver/quic",
			"dot": "dnsserver/tls", "doh": "dnsserver/https", "doq": "dnsserver/quic"},
	},
	// icmp: one echo request
	// tcp: connects; sends and expects text if it is set
	// tcp-half-open: a lone ACK that an RST must answer; proves the host's TCP, not that the port is open
	// udp: one datagram; without expected text, anything but an ICMP error passes, silence too
	// http: one request
	// https: one request over TLS, certificate verified
	// tls: a handshake, certificate verified; sends and expects text if it is set
	// dns: one question
	// exec: runs a program; exit status 0 passes
	"kind": {
		built: []string{"icmp", "tcp", "tcp-half-open", "udp", "http", "https", "tls", "dns", "exec"},
		later: map[string]string{
			"ftp": "probe/ftp", "smtp": "probe/smtp", "imap": "probe/imap", "pop3": "probe/pop3",
			"radius": "probe/radius", "sip": "probe/sip", "snmp": "probe/snmp", "ldap": "probe/ldap",
			"mysql": "probe/mysql", "postgres": "probe/postgres", "redis": "probe/redis", "grpc": "probe/grpc",
			"arp": "probe/arp", "ssl": "probe/ssl", "ssl-expiry": "probe/ssl",
		},
	},
	"queryType": {built: []string{"A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"}},
	"rcode":     {built: []string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"}},
	"continent": {built: []string{"AF", "AN", "AS", "EU", "NA", "OC", "SA"}},
}

// laterKeys holds, by the struct they stand in, keys whose module is not built
// yet, with the module that each waits for.
var laterKeys = map[string]map[string]string{
	"Model": {
		"store": "store/etcd", "kernel": "kernel",
		"expect": "plan", "guard": "guard", "slo": "slo", "journal": "journal",
	},
	"Node": {"store": "store/etcd", "epoch": "store/etcd"},
	"DNS": {
		"tsig": "dnsserver/tsig",
		"keys": "dnsserver/tsig", "dnstap": "dnsserver/dnstap", "dnssec": "dnsserver/dnssec",
	},
	"Listener": {"proxy": "dnsserver/proxy", "certificate": "dnsserver/tls"},
	"Zone": {
		"dnssec": "dnsserver/dnssec", "transfer": "dnsserver/transfer", "notify": "dnsserver/transfer",
		"primaries": "dnsserver/transfer", "update": "dnsserver/update", "catalog": "dnsserver/catalog",
	},
	"Name": {"slo": "slo", "sticky": "sticky", "persistence": "sticky", "guard": "guard"},
	"Pool": {
		"sticky": "sticky", "persistence": "sticky", "overrideLimit": "sticky",
		"guard": "guard", "slo": "slo", "slowOnline": "ramp",
	},
	"Member": {
		"maxConnections": "slb", "slowOnline": "ramp",
	},
	"VirtualServer": {"slowOnline": "ramp"},
	"Serve":         {"tls": "slb/l7", "certificate": "slb/l7", "redirect": "slb/l7", "connectionSync": "sessionsync", "group": "vip"},
	"ServerFarm":    {"proximity": "slb/proximity"},
	"RealServer":    {"vrf": "slb/vrf"},
	"Link": {
		"vrf": "outbound",
	},
	"Probe": {"quorum": "store/etcd", "vantage": "store/etcd"},
	"ISP":   {"update": "whois"},
}

func (v vocabulary) has(word string) bool { return slices.Contains(v.built, word) }

// nearest gives the candidate that word was most likely meant to be, or "".
// It allows one slip (a letter wrong, missing, extra or two swapped) for each
// three letters, and at least one; a difference in case alone is no slip.
func nearest(word string, candidates []string) string {
	best, bound := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		if d := distance(word, c, bound); d < bound {
			best, bound = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance of a and b without regard
// to case, or bound if it is that large. Words longer than 64 bytes are not
// compared.
func distance(a, b string, bound int) int {
	if len(a)-len(b) >= bound || len(b)-len(a) >= bound || len(a) > 64 || len(b) > 64 {
		return bound
	}
	var rows [3][65]int // two rows back, one row back, this row
	for j := range len(b) + 1 {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		two, one, cur := &rows[(i+2)%3], &rows[i%3], &rows[(i+1)%3]
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if lower(a[i-1]) == lower(b[j-1]) {
				cost = 0
			}
			cur[j] = min(one[j]+1, cur[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && lower(a[i-1]) == lower(b[j-2]) && lower(a[i-2]) == lower(b[j-1]) {
				cur[j] = min(cur[j], two[j-2]+1)
			}
		}
	}
	return min(bound, rows[(len(a)+1)%3][len(b)])
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
