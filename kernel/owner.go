package kernel

import "fmt"

// The protocol numbers that our routes, rules of policy and addresses carry, one for each
// owner: what has one of them is ours, and nothing else is. 80 is the P of
// Portolan; these are free in /etc/iproute2/rt_protos, and in the numbers that
// FRR, BIRD, keepalived, Open vSwitch, systemd-networkd and NetworkManager use.
// "ip route show table all proto 80" and "ip rule show" tell them.
//
// Shapers are told by the same number: 5050:, 5051: and 5052: are the handles of
// their queues.
var protocolNumbers = map[string]uint8{
	"outbound": 80,
	"dnsproxy": 81,
	"slb":      82,
}

// protocolOf gives the number of an owner.
func protocolOf(owner string) (uint8, error) {
	n := protocolNumbers[owner]
	if n == 0 {
		return 0, fmt.Errorf("%s has no number for its routes (kernel/owner.go)", owner)
	}
	return n, nil
}

// handleOf gives the major number of the queues of an owner: 0x5050 for 80.
func handleOf(protocol uint8) uint16 { return 0x5000 + uint16(protocol) }
