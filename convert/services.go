package convert

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// service is a service_type: how an address or a host name is monitored.
type service struct {
	name   string
	pos    config.Pos
	always bool          // up whatever happens: no probe stands for it
	soon   time.Duration // the soonest that an up state can end; 0: it cannot
	probe  mapping       // without its name
	item   bool          // the probe's command names what is monitored
	made   map[string]string
}

// limits of a probe of ours.
const maxCount = 100 // rise and fall

// readServices makes a probe of each service type. up and down are there
// without being written.
func (g *gdnsd) readServices() {
	g.services["up"] = &service{name: "up", always: true}
	types := g.root.get("service_types")
	if types != nil && types.kind == hash {
		for _, p := range types.pairs {
			g.services[p.key] = g.readService(p)
		}
	}
	if g.services["down"] == nil {
		g.services["down"] = neverUp("down", config.Pos{})
	}
}

// neverUp is a service type whose state is always down.
func neverUp(name string, at config.Pos) *service {
	return &service{name: name, pos: at, made: map[string]string{}, probe: mapping{
		{"kind", "exec"}, {"command", list{"/bin/false"}}, {"target", "127.0.0.1"},
		{"interval", time.Hour}, {"timeout", time.Second}, {"rise", 1}, {"fall", 1}}}
}

// known keys of each monitoring plugin, beside those that all have.
var serviceKeys = map[string][]string{
	"http_status": {"port", "url_path", "vhost", "ok_codes"},
	"tcp_connect": {"port"},
	"extmon":      {"cmd", "direct", "max_proc"},
	"extfile":     {"file", "direct", "def_down", "def_ttl"},
	"static":      {"state", "ttl"},
	"null":        {},
}

func (g *gdnsd) readService(p *pair) *service {
	s := &service{name: p.key, pos: p.pos, always: true, made: map[string]string{}}
	what := "service_types." + p.key
	plugin := p.value.get("plugin")
	if plugin == nil || plugin.kind != scalar {
		g.lost(p.pos, what, "it names no plugin: what it monitors counts as up", "")
		return s
	}
	keys, ok := serviceKeys[plugin.text]
	if !ok {
		g.lost(plugin.pos, what, "the monitoring plugin "+quoted(plugin.text)+" is not known: what it monitors counts as up", "write a probe for it")
		return s
	}
	for _, o := range p.value.pairs {
		if !slices.Contains(keys, o.key) && !slices.Contains(strings.Fields("plugin up_thresh ok_thresh down_thresh interval timeout"), o.key) {
			g.lost(o.pos, what+"."+o.key, plugin.text+" has no such key", "")
		}
	}
	switch plugin.text {
	case "static":
		g.readStatic(s, p.value, what)
		return s
	case "null":
		return neverUp(p.key, p.pos)
	}
	var kind mapping
	switch plugin.text {
	case "http_status":
		kind = g.httpStatus(p.value, what)
	case "tcp_connect":
		kind = g.tcpConnect(p.value, what, p.pos)
	case "extmon":
		kind, s.item = g.extmon(p.value, what, p.pos), true
	case "extfile":
		kind, s.item = g.extfile(p.value, what, p.pos), true
	}
	if kind == nil {
		return s
	}
	s.always = false
	s.probe = append(kind, g.times(s, p.value, what)...)
	return s
}

func (g *gdnsd) readStatic(s *service, n *node, what string) {
	if ttl := n.get("ttl"); ttl != nil {
		g.lost(ttl.pos, what+".ttl = "+ttl.String(), "a static state has no TTL of its own here: that of the name counts", "")
	}
	if state := n.get("state"); state != nil && strings.EqualFold(state.text, "down") {
		*s = *neverUp(s.name, s.pos)
	}
}

// times gives interval, timeout, rise and fall.
//
// gdnsd goes down after down_thresh failures with less than ok_thresh
// successes in a row between them; fall counts failures in a row. The two are
// one where one of the thresholds is 1.
func (g *gdnsd) times(s *service, n *node, what string) mapping {
	interval := g.count(n, "interval", 10, 255, what)
	timeout := time.Duration(interval/2) * time.Second // whole seconds, as in gdnsd
	if interval == 1 {
		timeout = time.Second / 2
	}
	if v := n.get("timeout"); v != nil {
		if seconds, ok := v.number(); ok && seconds > 0 && seconds < interval {
			timeout = time.Duration(seconds) * time.Second
		} else {
			g.lost(v.pos, what+".timeout = "+v.String(), "it is no number of seconds below the interval; half of that is taken", "")
		}
	}
	rise, fall := g.count(n, "up_thresh", 20, maxCount, what), g.count(n, "down_thresh", 10, maxCount, what)
	okThresh := 10
	if v, ok := n.get("ok_thresh").number(); ok {
		okThresh = v
	}
	switch direct := n.get("direct").isTrue(); {
	case direct:
		rise, fall = 1, 1
	case fall > 1 && okThresh > 1:
		g.differs(s.pos, what+".down_thresh", fmt.Sprintf("the %d failures need not be in a row in gdnsd, as long as fewer than %d successes in a row are between them; here fall: %d means in a row",
			fall, okThresh, fall), "lower fall if the service flaps")
	}
	s.soon = time.Duration(fall*interval) * time.Second
	return mapping{{"interval", time.Duration(interval) * time.Second}, {"timeout", timeout}, {"rise", rise}, {"fall", fall}}
}

// count reads a number from 1 to most.
func (g *gdnsd) count(n *node, key string, otherwise, most int, what string) int {
	v := n.get(key)
	if v == nil {
		return otherwise
	}
	number, ok := v.number()
	switch {
	case !ok || number < 1:
		g.lost(v.pos, what+"."+key+" = "+v.String(), fmt.Sprintf("it is no number from 1; %d is taken", otherwise), "")
		return otherwise
	case number > most:
		g.differs(v.pos, what+"."+key+" = "+v.String(), fmt.Sprintf("at most %d is allowed here", most), "")
		return most
	}
	return number
}

func (g *gdnsd) port(n *node, otherwise int, what string) int {
	v := n.get("port")
	if v == nil {
		return otherwise
	}
	port, ok := v.number()
	if !ok || port < 1 || port > 65535 {
		g.lost(v.pos, what+".port = "+v.String(), "it is no port", "")
		return otherwise
	}
	return port
}

func (g *gdnsd) httpStatus(n *node, what string) mapping {
	m := mapping{{"kind", "http"}, {"target", fmt.Sprintf(":%d", g.port(n, 80, what))}}
	if v := n.get("url_path"); v != nil && v.kind == scalar {
		m = append(m, entry{"path", v.text})
	}
	if v := n.get("vhost"); v != nil && v.kind == scalar {
		m = append(m, entry{"host", v.text})
	}
	status := list{}
	for _, v := range n.get("ok_codes").list() {
		if code, ok := v.number(); ok && code >= 100 && code <= 599 {
			status = append(status, code)
		} else {
			g.lost(v.pos, what+".ok_codes "+v.String(), "it is no HTTP status from 100 to 599", "")
		}
	}
	if len(status) == 0 {
		status = list{200}
	}
	return append(m, entry{"status", status})
}

func (g *gdnsd) tcpConnect(n *node, what string, at config.Pos) mapping {
	port := g.port(n, 0, what)
	if port == 0 {
		g.lost(at, what, "tcp_connect needs a port: what it monitors counts as up", "")
		return nil
	}
	return mapping{{"kind", "tcp"}, {"target", fmt.Sprintf(":%d", port)}}
}

// itemMark stands in a command for what is monitored, until the probe is made.
const itemMark = "%%ITEM%%"

func (g *gdnsd) extmon(n *node, what string, at config.Pos) mapping {
	var command list
	for _, word := range n.get("cmd").texts() {
		if plain := strings.ReplaceAll(word, itemMark, ""); strings.Contains(plain, "%h") || strings.Contains(plain, "%p") {
			g.differs(n.get("cmd").pos, what+".cmd "+quoted(word), "%h and %p become address and port in a command here", "put the command into a script")
		}
		command = append(command, word)
	}
	if len(command) == 0 {
		g.lost(at, what, "extmon needs cmd: what it monitors counts as up", "")
		return nil
	}
	if v := n.get("max_proc"); v != nil && v.text != "0" {
		g.lost(v.pos, what+".max_proc = "+v.String(), "probes of one kind have no limit of their own here", "")
	}
	g.note(at, what, "the command sees PATH and LC_ALL of its environment, and runs as the user of portolan", "")
	return mapping{{"kind", "exec"}, {"command", command}}
}

// extfile makes a probe that looks the state up in the file, which other
// software writes. It reads one state a line.
func (g *gdnsd) extfile(n *node, what string, at config.Pos) mapping {
	file := n.get("file")
	if file == nil || file.kind != scalar || file.text == "" {
		g.lost(at, what, "extfile needs file: what it monitors counts as up", "")
		return nil
	}
	if strings.ContainsAny(file.text, "'%\n") {
		g.lost(file.pos, what+".file = "+file.String(), "a name with such signs is not taken into a command: what it monitors counts as up", "rename the file")
		return nil
	}
	name := g.absolute(path.Join(g.opts.stateDir, "extfile"), file.text)
	pattern := func(state string) string {
		return fmt.Sprintf(`grep -Eqi '^[[:space:]]*"?%s"?[[:space:]]*=>?[[:space:]]*"?%s' '%s'`, itemMark, state, name)
	}
	script := "! " + pattern("DOWN")
	if n.get("def_down").isTrue() {
		script = pattern("UP")
	}
	if v := n.get("def_ttl"); v != nil {
		g.lost(v.pos, what+".def_ttl = "+v.String(), "the TTLs of the file are not read", "")
	}
	g.differs(at, what, "a probe looks the state up in "+name+" at each interval: one state a line, TTLs are not read, and a file that is missing is as one without the entry", "")
	return mapping{{"kind", "exec"}, {"command", list{"/bin/sh", "-c", script}}}
}

// probesFor gives the probes that stand for service types on one address or
// host name, and the soonest that what they say can change.
func (g *gdnsd) probesFor(types []typeName, item string) (probes []string, soon time.Duration) {
	for _, t := range types {
		s := g.services[t.name]
		switch {
		case s == nil:
			g.lost(t.pos, "service_types "+t.name, "there is no such service type: what it monitors counts as up", "")
			continue
		case s.always:
			continue
		}
		name := g.probeFor(s, item, t)
		if name == "" {
			continue
		}
		if !slices.Contains(probes, name) {
			probes = append(probes, name)
		}
		if s.soon > 0 && (soon == 0 || s.soon < soon) {
			soon = s.soon
		}
	}
	return probes, soon
}

// unusedServices tells of those that no probe was written for.
func (g *gdnsd) unusedServices() {
	types := g.root.get("service_types")
	if types == nil || types.kind != hash {
		return
	}
	for _, p := range types.pairs {
		if s := g.services[p.key]; !s.always && len(s.made) == 0 {
			g.note(p.pos, "service_types."+p.key, "nothing is monitored by it, so there is no probe", "")
		}
	}
}

// typeName is a service type where it is referred to.
type typeName struct {
	name string
	pos  config.Pos
}

// probeFor gives the name of the probe, which is written when it is first
// asked for. A command that names a host is a probe of its own; an address is
// put in by the probe itself.
func (g *gdnsd) probeFor(s *service, item string, t typeName) string {
	_, notAddress := netip.ParseAddr(item)
	host := notAddress != nil
	key, probe := "", s.probe
	if host {
		if s.item {
			key = item
		} else if !sameMapping(probe, "exec") {
			g.lost(t.pos, "service_types "+t.name+" of "+item, "only an external program can monitor a host name, so it counts as up", "")
			return ""
		}
	}
	if name := s.made[key]; name != "" {
		return name
	}
	want := s.name
	if key != "" {
		want += "-" + strings.TrimSuffix(key, ".")
	}
	name := g.name("probe", want)
	s.made[key] = name
	g.writeProbe(s, name, key)
	return name
}

func sameMapping(m mapping, kind string) bool { return m[0].value == kind }

func (g *gdnsd) writeProbe(s *service, name, host string) {
	m := mapping{{"name", name}}
	item := "%h"
	if host != "" {
		item = host
	}
	for _, e := range s.probe {
		if command, ok := e.value.(list); ok && e.key == "command" {
			filled := make(list, len(command))
			for i, word := range command {
				filled[i] = strings.ReplaceAll(fmt.Sprint(word), itemMark, item)
			}
			e.value = filled
		}
		m = append(m, e)
	}
	if host != "" { // a host name is never resolved, and a probe needs some target
		m = append(m, entry{"target", "127.0.0.1"})
	}
	from := "gdnsd's down"
	if s.pos.File != "" {
		from = g.origin(s.pos)
	}
	g.probes = append(g.probes, block{from, m})
}
