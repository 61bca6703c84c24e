package kernel

import (
	"cmp"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A TCP connection that both ends have closed, or that was reset, is over, though
// Linux keeps it for up to two minutes more (nf_conntrack_tcp_timeout_time_wait,
// _close): it loads nobody, and a limit that the kernel counts has room again. Only
// its port of a SNAT pool stays taken. Linux tells of it as of a change; there are
// five changes of each connection, so a filter in the kernel lets that one through.

// States of TCP from which a session does not come back (enum tcp_conntrack): who
// uses its ports again has a new one.
const (
	tcpTimeWait = 7
	tcpClose    = 8
)

// over says whether a TCP connection has ended that Linux still keeps.
func (s *Session) over() bool {
	return s.Original.Protocol == unix.IPPROTO_TCP && (s.State == tcpStates[tcpTimeWait] || s.State == tcpStates[tcpClose])
}

// finish counts a session as over, once.
func (l *Live) finish(key uint64) {
	k, is := l.known[key]
	if !is || k.over {
		return
	}
	k.over = true
	l.known[key] = k
	l.count(k.row, change{live: -1})
}

// hearEnds has a socket that hears what begins and ends hear of changes, too, but
// only that a connection is over.
func (s *socket) hearEnds() (err error) {
	filter := endsOnly()
	inner := s.conn.Control(func(fd uintptr) {
		if err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}); err == nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_CONNTRACK_UPDATE)
		}
	})
	return cmp.Or(inner, err)
}

// endsOnly is the filter. It runs for each message of the kernel, and takes all
// but changes of another kind.
func endsOnly() []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_ABS
		same  = unix.BPF_JMP | unix.BPF_K | unix.BPF_JEQ
		some  = unix.BPF_JMP | unix.BPF_K | unix.BPF_JSET
		index = unix.BPF_LDX | unix.BPF_IMM
		// What the kernel looks up itself (linux/filter.h, SKF_AD_OFF): the attribute
		// of the kind X from A on, or inside of the one at A; A is its place then, or 0.
		find, inside = 1<<32 - 0x1000 + 12, 1<<32 - 0x1000 + 16
		// Lines of the filter.
		drop, take = 18, 19
	)
	// Numbers of a message's head are in the order of the machine, and the filter
	// reads all in that of the network.
	swapped := func(n uint16) uint32 { return uint32(binary.BigEndian.Uint16(native.AppendUint16(nil, n))) }
	return []unix.SockFilter{
		{Code: load | unix.BPF_H, K: 4}, // its kind
		{Code: same, K: swapped(ctNew), Jf: take - 2},
		{Code: load | unix.BPF_H, K: 6}, // flags
		{Code: some, K: swapped(unix.NLM_F_CREATE), Jt: take - 4},
		{Code: unix.BPF_LD | unix.BPF_IMM, K: unix.SizeofNlMsghdr + sizeofNetfilter},
		{Code: index, K: ctaProtocolInfo},
		{Code: load | unix.BPF_W, K: find},
		{Code: same, K: 0, Jt: drop - 8},
		{Code: index, K: ctaProtocolInfoTCP},
		{Code: load | unix.BPF_W, K: inside},
		{Code: same, K: 0, Jt: drop - 11},
		{Code: index, K: ctaTCPState},
		{Code: load | unix.BPF_W, K: inside},
		{Code: same, K: 0, Jt: drop - 14},
		{Code: unix.BPF_MISC | unix.BPF_TAX},
		{Code: unix.BPF_LD | unix.BPF_IND | unix.BPF_B, K: unix.SizeofNlAttr},
		{Code: same, K: tcpTimeWait, Jt: take - 17},
		{Code: same, K: tcpClose, Jt: take - 18},
		drop: {Code: unix.BPF_RET, K: 0},
		take: {Code: unix.BPF_RET, K: 1<<32 - 1},
	}
}
