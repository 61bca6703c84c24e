package doctor

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// Look reads the facts of the calling thread's network namespace. want says what
// is asked of the machine, given its interfaces. serving says that a server of
// ours runs. What cannot be read stands in Unseen; an error is for a machine of
// which nothing can be told.
func Look(want func([]kernel.Interface) Wanted, serving bool) (*Facts, error) {
	r, err := kernel.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f := &Facts{Serving: serving, Programs: map[string]bool{}, Helpers: map[string]bool{}}
	if f.Interfaces, err = r.Interfaces(); err != nil {
		return nil, err
	}
	f.Wanted = want(f.Interfaces)
	f.readSysctls()
	if f.Rules, err = r.PolicyEntries(); err != nil {
		f.unseen("rules of the routing policy", err)
	}
	f.lookAtPorts()
	if !f.gateway() {
		return f, nil
	}
	f.lookAtChains()
	f.lookAtSessions()
	f.lookForHelpers()
	return f, nil
}

// unseen notes what could not be read. An error of privileges says what helps.
func (f *Facts) unseen(what string, err error) {
	why := err.Error()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		why = "it needs root"
	}
	f.Unseen = append(f.Unseen, Unseen{what, why})
}

// settingsOf are the sysctls that are judged; those of interfaces come with all
// and each that is concerned.
var (
	settingsOfAll = []string{"ipv4/ip_forward", "ipv4/fwmark_reflect", "ipv6/fwmark_reflect", "ipv4/tcp_fwmark_accept",
		"netfilter/nf_conntrack_max", "netfilter/nf_conntrack_count", "netfilter/nf_conntrack_buckets", "netfilter/nf_conntrack_tcp_loose",
		"netfilter/nf_conntrack_tcp_timeout_time_wait", "netfilter/nf_conntrack_helper"}
	settingsOfEach = map[string][]string{
		"ipv4": {"rp_filter", "src_valid_mark", "forwarding"},
		"ipv6": {"forwarding", "accept_ra", "disable_ipv6", "keep_addr_on_down"}}
)

func (f *Facts) readSysctls() {
	names := slices.Clone(settingsOfAll)
	for _, s := range f.Wanted.Sysctls {
		names = append(names, s.Name)
	}
	for v, keys := range settingsOfEach {
		for _, key := range keys {
			for _, name := range append([]string{"all"}, f.touched()...) {
				names = append(names, conf(v, name, key))
			}
		}
	}
	slices.Sort(names)
	f.Sysctls = map[string]string{}
	for _, name := range slices.Compact(names) {
		switch value, err := kernel.ReadSysctl(name); {
		case err == nil:
			f.Sysctls[name] = value
		case !errors.Is(err, fs.ErrNotExist):
			f.unseen("sysctl "+kernel.SysctlName(name), err)
		}
	}
}

func (f *Facts) lookAtPorts() {
	var wanted []uint16
	for _, n := range f.needs() {
		if n.Address.Port() != 0 {
			wanted = append(wanted, n.Address.Port())
		}
	}
	var err error
	if f.Sockets, err = kernel.ListeningSockets(wanted...); err != nil {
		f.unseen("sockets", err)
	}
	if slices.ContainsFunc(f.Sockets, func(s kernel.Listening) bool { return s.Holder == (kernel.Holder{}) }) && !kernel.MayChange() {
		f.unseen("who has the ports of DNS", unix.EPERM)
	}
}

// known are the programs whose chains are looked for.
var known = []string{"docker", "firewalld", "tailscale", "mwan3", "ufw", "kubernetes", "libvirt"}

func (f *Facts) lookAtChains() {
	f.Legacy = kernel.LegacyTables()
	rules, err := kernel.ReadRuleset()
	if err != nil {
		f.unseen("nftables: marks, forwarding, NAT and flowtables of other programs", err)
		return
	}
	f.Meet = rules.Meet
	for _, name := range known {
		f.Programs[name] = rules.Program(name)
	}
	if len(f.Legacy) > 0 {
		f.unseen("rules of the old iptables", errors.New("it shows them to its own programs alone: iptables-legacy-save"))
	}
}

func (f *Facts) lookAtSessions() {
	c, err := kernel.OpenConntrack()
	if err == nil {
		defer c.Close()
		f.Tracking, err = c.Stats()
	}
	if err == nil {
		return
	}
	f.unseen("what connection tracking has lost", err)
	entries, known := f.number("netfilter/nf_conntrack_count") // which all may read
	room, known2 := f.number("netfilter/nf_conntrack_max")
	if known && known2 {
		f.Tracking = kernel.Tracking{Entries: uint32(entries), Max: uint32(room)}
	}
}

// lookForHelpers looks whether helpers are in the kernel or may be loaded. A
// kernel without a list of modules tells what is in it by /sys/module alone, and
// not always.
func (f *Facts) lookForHelpers() {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return
	}
	dir := filepath.Join("/lib/modules", unix.ByteSliceToString(name.Release[:]))
	var lists []byte
	for _, file := range []string{"modules.dep", "modules.builtin"} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			continue // what is not listed counts as not known
		}
		lists = append(lists, b...)
	}
	for _, h := range f.Wanted.Helpers {
		f.lookForHelper(h, lists)
	}
}

func (f *Facts) lookForHelper(h config.Helper, lists []byte) {
	names := modules[h]
	if len(names) == 0 {
		return
	}
	if _, err := os.Stat("/sys/module/" + names[0]); err == nil {
		f.Helpers[string(h)] = true
		return
	}
	if len(lists) > 0 {
		f.Helpers[string(h)] = bytes.Contains(lists, []byte("/"+names[0]+".ko"))
		return
	}
	f.unseen("whether this kernel has a helper for "+string(h), errors.New("it has no list of modules"))
}
