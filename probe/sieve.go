package probe

import (
	"fmt"
	"net"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
)

// field is a number in a packet, in network byte order, from the header of
// ICMP or TCP on.
type field struct {
	off   uint32
	size  int // 1, 2 or 4 bytes
	value uint32
}

// sieve has the kernel drop what a raw socket need not see, before it takes
// room in the socket's buffer: a flood of others' replies must not push out
// ours (T53). What passes is still to be checked.
func sieve(conn net.Conn, v4 bool, fields ...field) error {
	// A raw socket of IPv4 is given the IP header too, one of IPv6 is not
	// (RFC 3542 section 3). X holds where our header begins.
	program := []bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegX, Val: 0}}
	if v4 {
		program[0] = bpf.LoadMemShift{Off: 0}
	}
	const accept, refuse = 1 << 16, 0 // bytes to keep
	for _, f := range fields {
		program = append(program,
			bpf.LoadIndirect{Off: f.off, Size: f.size},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: f.value, SkipTrue: 1},
			bpf.RetConstant{Val: refuse})
	}
	raw, err := bpf.Assemble(append(program, bpf.RetConstant{Val: accept}))
	if err != nil {
		return err
	}
	// The option is the socket's own, whatever its family.
	if err := ipv4.NewPacketConn(conn.(net.PacketConn)).SetBPF(raw); err != nil {
		return voidError(fmt.Sprintf("cannot attach a filter to the socket: %s", plain(err)))
	}
	return nil
}
