package kernel

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// PolicyEntry is a rule of the routing policy database, whoever made it.
type PolicyEntry struct {
	PolicyRule
	Ours     bool   // by its protocol number
	Not      bool   // it takes what does not match
	Narrow   bool   // it looks at more than is told here: users, ports, a VRF, ...
	Suppress bool   // it takes no default routes
	Goes     bool   // to another rule, or nowhere: it is not of a table
	Text     string // as the ip program takes it, without its priority
}

// PolicyEntries gives all rules of the namespace, in no order. It needs no
// privileges.
func (r *Reader) PolicyEntries() (list []PolicyEntry, err error) {
	err = dump(r.sockets, unix.NETLINK_ROUTE, unix.RTM_GETRULE, make([]byte, sizeofRule), unix.RTM_NEWRULE, func() { list = nil }, func(b []byte) {
		if e, ok := parsePolicy(b); ok {
			list = append(list, e)
		}
	})
	return list, wrapped("rules of the routing policy", err)
}

// parsePolicy reads a rule as parseEntry does, and what is odd about it.
func parsePolicy(b []byte) (p PolicyEntry, ok bool) {
	e, protocol, ok := parseEntry(b)
	if !ok {
		return p, false
	}
	p.PolicyRule = PolicyRule{IPv6: e.v6, Priority: int(e.priority), Mark: e.mark, Mask: e.mask, From: e.from, To: e.to, In: e.in, Table: int(e.table)}
	p.Not = native.Uint32(b[8:])&ruleInvert != 0
	p.Goes = e.action != toTable
	p.Ours = protocol != 0 && protocolNumbers[ownerOf(protocol)] == protocol
	narrow := b[3] != 0 // type of service
	for kind, v := range attributes(b[sizeofRule:]) {
		switch kind {
		case fraSuppressPrefix, fraSuppressGroup:
			p.Suppress = p.Suppress || number(v) != fraUnused
		case fraTo, fraFrom, fraIn, fraPriority, fraMark, fraTable, fraProtocol, fraMask, fraFlow:
		default:
			narrow = narrow || number(v) != 0 || len(v) > 8
		}
	}
	p.Narrow = narrow
	_, p.Text, _ = strings.Cut(e.String(), " ")
	_, p.Text, _ = strings.Cut(p.Text, " ") // without its priority
	if p.Not {
		p.Text = "not " + p.Text
	}
	return p, true
}

func ownerOf(protocol uint8) string {
	for owner, n := range protocolNumbers {
		if n == protocol {
			return owner
		}
	}
	return ""
}

// ReadSysctl reads a value below net in the calling thread's namespace, by a
// name with dots or slashes; fs.ErrNotExist: this kernel has none of the name,
// or the part of it that has is not loaded.
func ReadSysctl(name string) (string, error) {
	s := Sysctl{Name: name}
	file, err := s.path()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(file)
	return strings.TrimSpace(string(b)), err
}

// SysctlName is the name of a value as the sysctl program writes it.
func SysctlName(name string) string { return (&Sysctl{Name: name}).dotted() }

// Listening is a socket that takes packets of others: of UDP bound to a port, of
// TCP one that listens.
type Listening struct {
	TCP     bool
	Address netip.AddrPort
	Inode   uint64
	Holder  Holder
}

// Holder is a process that has a socket; the zero Holder: it is not known who.
type Holder struct {
	PID     int
	Name    string
	Unit    string // of systemd; "": none
	Missing uint64 // capabilities of those asked for that it lacks, a bit each
}

// ListeningSockets gives the sockets of the calling thread's namespace that
// listen on one of the ports. Who has them is found out for root alone, else for
// the processes of one's own.
func ListeningSockets(ports ...uint16) (list []Listening, err error) {
	for _, f := range []struct {
		name string
		tcp  bool
	}{{"tcp", true}, {"tcp6", true}, {"udp", false}, {"udp6", false}} {
		b, err := os.ReadFile("/proc/thread-self/net/" + f.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("reading sockets: %w", err)
		}
		for l := range bytes.Lines(b) {
			if s, ok := parseSocket(string(l), f.tcp); ok && slices.Contains(ports, s.Address.Port()) {
				list = append(list, s)
			}
		}
	}
	if len(list) > 0 {
		holders := holdersOf(list)
		for i := range list {
			list[i].Holder = holders[list[i].Inode]
		}
	}
	return list, nil
}

// parseSocket reads a line of /proc/net/tcp, udp and their kin.
func parseSocket(line string, tcp bool) (l Listening, ok bool) {
	const local, state, inode = 1, 3, 9
	f := strings.Fields(line)
	if len(f) <= inode || tcp != (f[state] == "0A") || !tcp && f[state] != "07" {
		return l, false
	}
	address, port, found := strings.Cut(f[local], ":")
	raw, err := hex.DecodeString(address)
	n, err2 := strconv.ParseUint(port, 16, 16)
	number, err3 := strconv.ParseUint(f[inode], 10, 64)
	if !found || errors.Join(err, err2, err3) != nil || len(raw)%4 != 0 {
		return l, false
	}
	for i := 0; i < len(raw); i += 4 { // words as the machine has them
		native.PutUint32(raw[i:], uint32(raw[i])<<24|uint32(raw[i+1])<<16|uint32(raw[i+2])<<8|uint32(raw[i+3]))
	}
	a, ok := netip.AddrFromSlice(raw)
	return Listening{TCP: tcp, Address: netip.AddrPortFrom(a.Unmap(), uint16(n)), Inode: number}, ok
}

// holdersOf looks for the processes that have sockets, by their inodes.
func holdersOf(list []Listening) map[uint64]Holder {
	found := map[uint64]Holder{}
	wanted := map[string]uint64{}
	for _, l := range list {
		wanted["socket:["+strconv.FormatUint(l.Inode, 10)+"]"] = l.Inode
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/fd") // the pattern is right
	for _, dir := range processes {
		files, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended, or is not ours to look at
		}
		for _, file := range files {
			target, err := os.Readlink(path.Join(dir, file.Name()))
			if inode, ok := wanted[target]; ok && err == nil {
				if old, ok := found[inode]; !ok || old.PID == 1 { // systemd keeps those that it has handed on
					found[inode] = holderIn(path.Dir(dir))
				}
			}
		}
	}
	return found
}

// gatewayCapabilities are what serve needs.
const gatewayCapabilities = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_NET_RAW

// holderIn reads who a process is.
func holderIn(dir string) (h Holder) {
	h.PID, _ = strconv.Atoi(path.Base(dir)) // its name is digits
	if b, err := os.ReadFile(path.Join(dir, "comm")); err == nil {
		h.Name = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile(path.Join(dir, "cgroup")); err == nil {
		h.Unit = unitOf(string(b))
	}
	if b, err := os.ReadFile(path.Join(dir, "status")); err == nil {
		s := bufio.NewScanner(bytes.NewReader(b))
		for s.Scan() {
			if v, ok := strings.CutPrefix(s.Text(), "CapEff:"); ok {
				if have, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64); err == nil {
					h.Missing = gatewayCapabilities &^ have
				}
			}
		}
	}
	return h
}

// unitOf gives the unit of systemd that a process belongs to, from its cgroups:
// one of the system, for users name cgroups of theirs as they like.
func unitOf(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		_, below, ok := strings.Cut(strings.TrimSpace(line), ":/system.slice/")
		for unit := range strings.SplitSeq(below, "/") {
			if ok && strings.HasSuffix(unit, ".service") {
				return unit
			}
		}
	}
	return ""
}

// MayChange says whether this process may change the namespace's networking,
// and so see all of it.
func MayChange() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}

// LegacyTables gives the tables of the old iptables ("ip nat"), which nftables does
// not show, and which only its own programs can tell.
func LegacyTables() (list []string) {
	for _, f := range []struct{ file, family string }{{"ip_tables_names", "ip"}, {"ip6_tables_names", "ip6"}} {
		b, err := os.ReadFile("/proc/thread-self/net/" + f.file)
		if err != nil {
			continue // there is no old iptables, or it is for root alone: see [MayChange]
		}
		for name := range strings.FieldsSeq(string(b)) {
			list = append(list, f.family+" "+name)
		}
	}
	return list
}
