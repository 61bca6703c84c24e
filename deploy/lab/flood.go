package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// forged is where the sources of a flood are from (RFC 6598). No place of the
// lab has an address there, and nothing of the lab leaves its namespaces.
var forged = netip.MustParsePrefix("100.64.0.0/10")

// flood asks the gateway by a link for a name, n times at a steady rate, each
// time with another source out of 16,384 forged networks.
func (l *lab) flood(ctx context.Context, from, by, name string, n, perSecond int) error {
	var fd int
	var err error
	l.spaces[from].do(func() { fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW) })
	if err != nil {
		return fmt.Errorf("flood: %w", err)
	}
	defer unix.Close(fd)
	query, err := question(7, name)
	if err != nil {
		return err
	}
	to := l.resolver(by)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	for sent := 0; sent < n; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		for due := min(n, int(time.Since(began).Seconds()*float64(perSecond))); sent < due; sent++ {
			source := forged.Addr().As4()
			binary.BigEndian.PutUint32(source[:], binary.BigEndian.Uint32(source[:])|rand.Uint32()&0x3fffff)
			packet := datagram(netip.AddrPortFrom(netip.AddrFrom4(source), uint16(1024+sent%60000)), to, query)
			if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()}); err != nil {
				return fmt.Errorf("flood: %w", err)
			}
		}
	}
	return nil
}

// datagram makes an IPv4 packet with a UDP datagram and no checksum of it (RFC
// 768 allows that); the kernel fills in that of the IP header.
func datagram(from, to netip.AddrPort, data []byte) []byte {
	length := 28 + len(data)
	p := []byte{0x45, 0, byte(length >> 8), byte(length), 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
	p = append(append(p, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	for _, field := range []uint16{from.Port(), to.Port(), uint16(8 + len(data)), 0} {
		p = binary.BigEndian.AppendUint16(p, field)
	}
	return append(p, data...)
}

// watcher counts what the gateway sends to forged networks, as the ISP of a
// link sees it.
type watcher struct {
	replies atomic.Uint64 // DNS
	others  atomic.Uint64 // packets that measure
	file    *os.File
	wait    sync.WaitGroup
	dns     uint16 // port of replies
}

func (l *lab) watch(isp string) (*watcher, error) {
	var fd int
	var err error
	l.spaces[isp].do(func() { fd, err = packetSocket(gateway) })
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", isp, err)
	}
	w := &watcher{file: os.NewFile(uintptr(fd), "packets"), dns: uint16(l.dns)}
	w.wait.Go(func() {
		for buf := make([]byte, maxFrame); ; {
			n, err := w.file.Read(buf)
			if err != nil {
				return
			}
			w.see(buf[min(n, vnetHeader):n])
		}
	})
	return w, nil
}

// see counts a frame if it goes to a forged network over IPv4.
func (w *watcher) see(frame []byte) {
	const ethernet, header = 14, 20
	if len(frame) < ethernet+header+2 || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP {
		return
	}
	packet := frame[ethernet:]
	if to, _ := netip.AddrFromSlice(packet[16:20]); !forged.Contains(to) {
		return
	}
	if packet[9] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(packet[header:]) == w.dns {
		w.replies.Add(1)
	} else {
		w.others.Add(1)
	}
}

func (w *watcher) close() error {
	err := w.file.Close()
	w.wait.Wait()
	return err
}
