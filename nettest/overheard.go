package nettest

import (
	"errors"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Overheard is what nft monitor would tell of a change.
type Overheard struct {
	Added, Deleted int // elements
	Transactions   int
	Others         int // messages of tables, chains, sets and rules
}

// Overhear makes a change and counts what Linux tells of it to whoever
// listens in the namespace: it does so in the course of the transaction.
func (s *Space) Overhear(t testing.TB, change func()) (heard Overheard) {
	t.Helper()
	var fd int
	var err error
	s.Do(func() {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	})
	if err == nil {
		defer unix.Close(fd)
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	}
	if err != nil {
		t.Fatal(err)
	}
	change()
	for buf := make([]byte, 1<<16); ; {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EAGAIN) {
			return heard
		}
		if err != nil {
			t.Fatal(err)
		}
		list, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			switch m.Header.Type & 0xff {
			case unix.NFT_MSG_NEWSETELEM:
				heard.Added++
			case unix.NFT_MSG_DELSETELEM:
				heard.Deleted++
			case unix.NFT_MSG_NEWGEN:
				heard.Transactions++
			default:
				heard.Others++
			}
		}
	}
}
