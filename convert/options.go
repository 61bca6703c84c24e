package convert

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/portolan-lb/portolan/config"
)

// options are those that zone files depend on, in seconds.
type options struct {
	defaultTTL, minTTL, maxTTL, maxNegative int
	stateDir                                string
}

// tuning are options that say how gdnsd does its work; nothing has to stand
// for them.
var tuning = map[string]string{
	"tcp_threads":            "threads are made as they are needed here",
	"udp_threads":            "threads are made as they are needed here",
	"tcp_backlog":            "the system's limit is used here",
	"tcp_fastopen":           "there is no TCP Fast Open here",
	"udp_rcvbuf":             "the system's setting is used here",
	"udp_sndbuf":             "the system's setting is used here",
	"lock_mem":               "memory is not locked here",
	"zones_rfc1035_threads":  "zone files are read without a setting",
	"disable_text_autosplit": "long strings of TXT records are always split into 255 octets",
	"run_dir":                "the API's socket stands in its place: --socket of portolan serve",
	"state_dir":              "--state of portolan serve stands in its place; holds take the place of the file admin_state",
	"zones_strict_data":      "portolan check --strict takes warnings for errors",
	"disable_tcp_dso":        "there is no DSO (RFC 8490) here",
}

// gone are options that gdnsd 3 itself no longer heeds.
var gone = strings.Fields(`any_mitigation include_optional_ns max_addtl_rrsets max_cname_depth max_response
	plugin_search_path udp_recv_width zones_strict_startup zones_rfc1035_auto zones_rfc1035_auto_interval
	zones_rfc1035_quiesce http_listen http_port http_timeout log_stats max_http_clients realtime_stats priority
	username weaker_security zones_rfc1035_min_quiesce`)

func (g *gdnsd) readOptions() {
	o := g.root.get("options")
	g.opts = options{
		defaultTTL:  g.seconds(o, "zones_default_ttl", 86400),
		minTTL:      g.seconds(o, "min_ttl", 5),
		maxTTL:      g.seconds(o, "max_ttl", 3600000),
		maxNegative: g.seconds(o, "max_ncache_ttl", 10800),
		stateDir:    "/var/lib/gdnsd",
	}
	if dir := o.get("state_dir"); dir != nil && dir.kind == scalar {
		g.opts.stateDir = dir.text
	}
	ecs := o.get("edns_client_subnet")
	g.dns = mapping{{"listeners", g.listeners(o)}}
	g.dns = append(g.dns, mapping{
		{"ecs", ecs == nil || ecs.isTrue()},
		{"udpSize", g.udpSize(o)},
		{"nsid", orNil(g.nsid(o))},
		{"cookies", g.cookies(o)},
		{"chaos", g.chaos(o)},
		{"limits", g.limits(o)},
		{"amplification", g.amplification(o)},
	}...)
	if o != nil && o.kind == hash {
		for _, p := range o.pairs {
			g.otherOption(p)
		}
	}
}

// seconds reads an option in seconds.
func (g *gdnsd) seconds(o *node, key string, otherwise int) int {
	v := o.get(key)
	if v == nil {
		return otherwise
	}
	n, ok := v.number()
	if !ok {
		g.lost(v.pos, "options."+key, v.String()+" is no number of seconds", "")
		return otherwise
	}
	return n
}

// otherOption reports what no word of ours stands for.
func (g *gdnsd) otherOption(p *pair) {
	what := "options." + p.key + " = " + p.value.String()
	switch p.key {
	case "zones_default_ttl", "min_ttl", "max_ttl", "max_ncache_ttl", "dns_port", "listen", "edns_client_subnet",
		"max_edns_response", "max_edns_response_v6", "nsid", "nsid_ascii", "disable_cookies", "tcp_timeout",
		"tcp_clients_per_thread", "max_nocookie_response":
	case "chaos_response":
		g.note(p.pos, what, "gdnsd says it to every question of class CH; here to version.bind, version.server, id.server and hostname.bind", "")
	case "cookie_key_file":
		g.lost(p.pos, what, "gdnsd's secrets are not those of RFC 9018, so the file cannot be used", "give all servers of one set the same dns.cookies.secretFile, and change them together")
	case "tcp_control":
		g.lost(p.pos, what, "the API is served on a Unix socket alone", "run portolan on the same host, or reach the socket through ssh")
	case "acme_challenge_ttl", "acme_challenge_dns_ttl":
		g.lost(p.pos, what, "challenges of ACME are not put into zones by a command here", "delegate _acme-challenge, or change the zone file and reload")
	case "experimental_no_chain":
		g.note(p.pos, what, "a CNAME inside a zone is always followed here, as RFC 1034 4.3.2 has it", "")
	default:
		switch why, ok := tuning[p.key]; {
		case ok:
			g.note(p.pos, what, why, "")
		case slices.Contains(gone, p.key):
			g.note(p.pos, what, "gdnsd 3 itself no longer heeds it", "")
		default:
			g.lost(p.pos, what, "gdnsd has no such option", "")
		}
	}
}

// cookies turns cookies off where gdnsd has them off.
func (g *gdnsd) cookies(o *node) any {
	if !o.get("disable_cookies").isTrue() {
		return nil
	}
	return mapping{{"enabled", false}}
}

// chaos says the same of version and identity, as gdnsd does. Without the
// option gdnsd says its own name; here nothing is said.
func (g *gdnsd) chaos(o *node) any {
	v := o.get("chaos_response")
	switch {
	case v == nil || v.kind != scalar || v.text == "":
		return nil
	case len(v.text) > 255 || !utf8.ValidString(v.text):
		g.lost(v.pos, "options.chaos_response", "at most 255 octets of text are allowed here", "see dns.chaos")
		return nil
	}
	return mapping{{"version", v.text}, {"identity", v.text}}
}

// limits of TCP. gdnsd counts connections by thread and address, and closes
// them after twice the time that it tells clients.
func (g *gdnsd) limits(o *node) any {
	var m mapping
	if v := o.get("tcp_clients_per_thread"); v != nil {
		per, ok := v.number()
		threads := 2
		if n, given := o.get("tcp_threads").number(); given {
			threads = n
		}
		all := per * threads * max(len(g.dns.listeners()), 1)
		switch {
		case !ok || all < 1 || all > 1_000_000:
			g.lost(v.pos, "options.tcp_clients_per_thread = "+v.String(), "1 to 1000000 connections in all are allowed here", "see dns.limits")
		default:
			m = append(m, entry{"connections", all})
			g.note(v.pos, "options.tcp_clients_per_thread = "+v.String(), fmt.Sprintf("all threads and addresses together have %d connections here; one client has at most connectionsPerClient of them", all), "see dns.limits")
		}
	}
	if v := o.get("tcp_timeout"); v != nil {
		seconds, ok := v.number()
		if ok && seconds >= 1 && seconds <= 3600 {
			m = append(m, entry{"idleTimeout", time.Duration(seconds) * time.Second})
			g.note(v.pos, "options.tcp_timeout = "+v.String(), "it is when the server closes; gdnsd itself waits twice as long as it tells clients", "")
		} else {
			g.lost(v.pos, "options.tcp_timeout = "+v.String(), "it is no number of seconds from 1 to 3600", "")
		}
	}
	if m == nil {
		return nil
	}
	return m
}

// amplification truncates what is larger than gdnsd lets pass without a cookie.
func (g *gdnsd) amplification(o *node) any {
	v := o.get("max_nocookie_response")
	size, ok := v.number()
	switch {
	case v == nil || v.text == "0":
		return nil
	case !ok:
		g.lost(v.pos, "options.max_nocookie_response = "+v.String(), "it is no number", "")
		return nil
	case size < 512:
		g.differs(v.pos, "options.max_nocookie_response = "+v.String(), "answers of up to 512 octets are always sent here", "")
	}
	return mapping{{"limit", 1}, {"exempt", min(max(size, 512), 1232)}}
}

// listeners gives the addresses in the section dns.
func (m mapping) listeners() lines {
	for _, e := range m {
		if l, ok := e.value.(lines); ok && e.key == "listeners" {
			return l
		}
	}
	return nil
}

// udpSize takes the smaller of the two sizes that gdnsd has, one a family.
func (g *gdnsd) udpSize(o *node) any {
	size, given := 0, 0
	for _, key := range []string{"max_edns_response", "max_edns_response_v6"} {
		v := o.get(key)
		n, ok := v.number()
		switch {
		case v == nil:
			n = 1232
		case !ok:
			g.lost(v.pos, "options."+key, v.String()+" is no number", "")
			n = 1232
		default:
			given++
		}
		if bounded := min(max(n, 512), 1232); bounded != n {
			g.differs(v.pos, "options."+key+" = "+v.String(), "512 to 1232 octets are allowed here: larger ones are lost in fragments", "")
			n = bounded
		}
		if size != 0 && n != size && given > 0 {
			at := v
			if at == nil {
				at = o.get("max_edns_response")
			}
			g.differs(at.pos, "options.max_edns_response", fmt.Sprintf("one size serves both families here: %d, the smaller one", min(n, size)), "")
		}
		if size == 0 || n < size {
			size = n
		}
	}
	if size == 1232 {
		return nil
	}
	return size
}

func (g *gdnsd) nsid(o *node) string {
	if v := o.get("nsid_ascii"); v != nil && v.kind == scalar {
		return v.text
	}
	v := o.get("nsid")
	if v == nil || v.kind != scalar {
		return ""
	}
	octets, err := hex.DecodeString(v.text)
	text := string(octets)
	if err != nil || strings.ContainsFunc(text, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) }) {
		g.lost(v.pos, "options.nsid = "+v.text, "an NSID is text here, and this is none", "give dns.nsid a text")
		return ""
	}
	return text
}

// listeners gives the addresses that gdnsd listens on.
func (g *gdnsd) listeners(o *node) lines {
	port := 53
	if v := o.get("dns_port"); v != nil {
		n, ok := v.number()
		if !ok || n < 1 || n > 65535 {
			g.lost(v.pos, "options.dns_port", v.String()+" is no port", "")
		} else {
			port = n
		}
	}
	var all lines
	add := func(a netip.AddrPort, from string) {
		all = append(all, line{mapping{{"address", a.String()}}, from})
	}
	listen := o.get("listen")
	if listen == nil || listen.kind == scalar && strings.EqualFold(listen.text, "any") {
		add(netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)), "")
		add(netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)), "")
		return all
	}
	if listen.kind == hash {
		for _, p := range listen.pairs {
			if a, ok := g.listenAddress(p.key, port, p.pos); ok && g.listenOptions(p) {
				add(a, "")
			}
		}
		return all
	}
	for _, item := range listen.list() {
		if a, ok := g.listenAddress(item.text, port, item.pos); ok {
			add(a, "")
		}
	}
	return all
}

func (g *gdnsd) listenAddress(text string, port int, at config.Pos) (netip.AddrPort, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, uint16(port)), true
	}
	a, err := netip.ParseAddrPort(text)
	if err != nil {
		g.lost(at, "options.listen "+strconv.Quote(text), "it is no address", "")
		return a, false
	}
	return a, true
}

// listenOptions reports the options of one address, and says whether it can be
// served at all.
func (g *gdnsd) listenOptions(p *pair) bool {
	serve := true
	if p.value.kind != hash {
		return serve
	}
	for _, o := range p.value.pairs {
		what := "options.listen " + p.key + " " + o.key + " = " + o.value.String()
		switch {
		case o.key == "tcp_proxy" && o.value.isTrue():
			g.lost(o.pos, what, "the PROXY protocol is not spoken here, so nothing listens on this address", "remove the proxy before it, or wait for module dnsserver/proxy")
			serve = false
		case o.key == "tcp_pad" && o.value.isTrue():
			g.lost(o.pos, what, "answers are padded on encrypted transports only", "")
		case o.key == "tcp_proxy" || o.key == "tcp_pad":
		case tuning[o.key] != "":
			g.note(o.pos, what, tuning[o.key], "")
		default:
			g.lost(o.pos, what, "limits are set for all listeners at once here", "see dns.limits")
		}
	}
	return serve
}
