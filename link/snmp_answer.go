package link

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"
)

// Objects of SNMPv2-MIB (RFC 3418) and IF-MIB (RFC 2863); those of an interface
// are followed by its ifIndex.
const (
	sysUpTime     = ".1.3.6.1.2.1.1.3.0"
	ifDescr       = ".1.3.6.1.2.1.2.2.1.2."
	ifInOctets    = ".1.3.6.1.2.1.2.2.1.10."
	ifOutOctets   = ".1.3.6.1.2.1.2.2.1.16."
	ifName        = ".1.3.6.1.2.1.31.1.1.1.1."
	ifHCInOctets  = ".1.3.6.1.2.1.31.1.1.1.6."
	ifHCOutOctets = ".1.3.6.1.2.1.31.1.1.1.10."
	ifHighSpeed   = ".1.3.6.1.2.1.31.1.1.1.15."
	ifAlias       = ".1.3.6.1.2.1.31.1.1.1.18."
	ifDisconTime  = ".1.3.6.1.2.1.31.1.1.1.19."
)

// answer is what a router said of an interface.
type answer struct {
	sent, received time.Time
	at             time.Time // when the counters were read, as far as we can tell
	uptime         uint32    // hundredths of a second since the router began
	in, out        uint64    // octets
	bits           int       // of in and out: 64, or 32 where the router has no others
	discontinuity  uint32    // uptime at which the counters were last set back
	speed          uint64    // bits a second; 0: not known
}

// errElsewhere says that the interface is not where it was found.
var errElsewhere = errors.New("the interface has another place in the router's tables now; looking for it")

// ask asks one question.
func (p *poller) ask(r router) (answer, error) {
	i := strconv.Itoa(p.where.index)
	oids := []string{sysUpTime, ifHCInOctets + i, ifHCOutOctets + i, ifInOctets + i, ifOutOctets + i, ifHighSpeed + i, ifDisconTime + i}
	if p.where.column != "" {
		oids = append(oids, p.where.column+i)
	}
	sent := time.Now()
	packet, err := r.Get(oids)
	if err := p.failed(packet, err); err != nil {
		return answer{}, err
	}
	vars := values(packet)
	if name, ok := textAt(vars, p.where.column+i); p.where.column != "" && (!ok || name != p.spec.Interface) {
		return answer{}, errElsewhere
	}
	a, err := answerOf(vars, i)
	if err != nil {
		return answer{}, fmt.Errorf("router %s: %w", p.spec.Address, err)
	}
	a.sent, a.received = sent, time.Now()
	return a, nil
}

// failed puts what went wrong with a question in words; nil if nothing did.
func (p *poller) failed(packet *gosnmp.SnmpPacket, err error) error {
	switch {
	case errors.Is(err, gosnmp.ErrMaxRetriesExceeded):
		return fmt.Errorf("router %s does not answer (%d tries of %s): not reachable, or it does not know our community or user", p.spec.Address, 1+snmpRetries, p.spec.Timeout)
	case err != nil:
		return fmt.Errorf("router %s: %s", p.spec.Address, plain(err))
	case packet.Error != gosnmp.NoError:
		return fmt.Errorf("router %s refuses the question: %s (RFC 3416)", p.spec.Address, packet.Error)
	case packet.PDUType != gosnmp.GetResponse || packet.RequestID == 0: // the library takes 0 for any question's
		return fmt.Errorf("router %s: what came is no answer to our question", p.spec.Address)
	}
	return nil
}

// values are an answer's variables by name. Of two with one name the first counts.
func values(packet *gosnmp.SnmpPacket) map[string]gosnmp.SnmpPDU {
	vars := make(map[string]gosnmp.SnmpPDU, len(packet.Variables))
	for _, v := range packet.Variables {
		if _, twice := vars[v.Name]; !twice {
			vars[v.Name] = v
		}
	}
	return vars
}

// answerOf reads what was said of the interface with an index. Counters of 64
// bits go before those of 32, which slow interfaces may have alone (RFC 2863 3.1.6).
func answerOf(vars map[string]gosnmp.SnmpPDU, index string) (a answer, err error) {
	in, out, bits := ifHCInOctets, ifHCOutOctets, 64
	if _, ok := numberAt(vars, in+index, gosnmp.Counter64); !ok {
		in, out, bits = ifInOctets, ifOutOctets, 32
	}
	kind := map[int]gosnmp.Asn1BER{64: gosnmp.Counter64, 32: gosnmp.Counter32}[bits]
	var okIn, okOut bool
	a.in, okIn = numberAt(vars, in+index, kind)
	a.out, okOut = numberAt(vars, out+index, kind)
	up, okUp := numberAt(vars, sysUpTime, gosnmp.TimeTicks)
	switch {
	case !okIn || !okOut:
		return a, fmt.Errorf("it has no counters for the interface with ifIndex %s, or does not show them to us", index)
	case !okUp:
		return a, errors.New("it does not say its sysUpTime")
	}
	a.bits, a.uptime = bits, uint32(up)
	discontinuity, _ := numberAt(vars, ifDisconTime+index, gosnmp.TimeTicks) // 0, like where there never was one
	a.discontinuity = uint32(discontinuity)
	if megabits, ok := numberAt(vars, ifHighSpeed+index, gosnmp.Gauge32); ok {
		a.speed = megabits * 1_000_000
	}
	return a, nil
}

// numberAt reads a number of one type; of another type, or absent, it is not ok.
func numberAt(vars map[string]gosnmp.SnmpPDU, name string, kind gosnmp.Asn1BER) (uint64, bool) {
	v, ok := vars[name]
	if !ok || v.Type != kind {
		return 0, false
	}
	switch n := v.Value.(type) {
	case uint64:
		return n, true
	case uint32:
		return uint64(n), true
	case uint:
		return uint64(n), kind == gosnmp.Counter64 || n <= 1<<32-1
	}
	return 0, false
}

func textAt(vars map[string]gosnmp.SnmpPDU, name string) (string, bool) { return textOf(vars[name]) }

// textOf reads a text without what some agents fill it up with.
func textOf(v gosnmp.SnmpPDU) (string, bool) {
	text, ok := v.Value.([]byte)
	return strings.TrimRight(string(text), "\x00 "), ok && v.Type == gosnmp.OctetString
}

// Bounds of a search through a router's tables.
const (
	mostInterfaces = 20_000
	rowsAtOnce     = 20
)

// find looks for the interface by its name: an ifName, else an ifDescr, else an
// ifAlias, which is what operators write there.
func (p *poller) find(ctx context.Context, r router) (place, error) {
	ctx, cancel := context.WithTimeout(ctx, findWithin)
	defer cancel()
	for _, column := range []string{ifName, ifDescr, ifAlias} {
		found, err := p.search(ctx, r, column)
		switch {
		case err != nil:
			return place{}, err
		case len(found) == 1:
			return place{found[0], column}, nil
		case len(found) > 1:
			return place{}, fmt.Errorf("router %s has %d interfaces that are called %q; write the ifIndex instead, such as index: %d", p.spec.Address, len(found), p.spec.Interface, found[0])
		}
	}
	return place{}, fmt.Errorf("router %s has no interface whose ifName, ifDescr or ifAlias is %q, or does not show it to us", p.spec.Address, p.spec.Interface)
}

// search walks through a column and gives the indexes of those with the name.
// Whatever the router says, the walk goes forward and ends.
func (p *poller) search(ctx context.Context, r router, column string) (found []int, err error) {
	next, last := strings.TrimSuffix(column, "."), 0
	for rows := 0; rows < mostInterfaces; {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("router %s did not tell its interfaces within %s", p.spec.Address, findWithin)
		}
		packet, err := r.GetBulk([]string{next}, 0, rowsAtOnce)
		if err := p.failed(packet, err); err != nil {
			return nil, err
		}
		for _, v := range packet.Variables {
			index, ok := indexIn(column, v.Name)
			if !ok || index <= last {
				return found, nil // past the column's end
			}
			if text, ok := textOf(v); ok && text == p.spec.Interface {
				found = append(found, index)
			}
			next, last = v.Name, index
			rows++
		}
		if len(packet.Variables) == 0 {
			return found, nil
		}
	}
	return found, nil
}

// indexIn reads the ifIndex at the end of a variable's name, if it is in column.
func indexIn(column, name string) (int, bool) {
	rest, ok := strings.CutPrefix(name, column)
	n, err := strconv.ParseUint(rest, 10, 31)
	return int(n), ok && err == nil && n > 0
}
