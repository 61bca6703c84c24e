package probe

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// controlMessage is one as the kernel writes it.
func controlMessage(level, kind int, data ...uint64) []byte {
	var body []byte
	for _, d := range data {
		body = binary.NativeEndian.AppendUint64(body, d)
	}
	b := make([]byte, unix.CmsgSpace(len(body)))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(body))))
	binary.NativeEndian.PutUint32(b[8:], uint32(level))
	binary.NativeEndian.PutUint32(b[12:], uint32(kind))
	copy(b[unix.CmsgLen(0):], body)
	return b
}

func TestParseArrival(t *testing.T) {
	at := controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1000, 5)
	four, six := controlMessage(unix.IPPROTO_IP, unix.IP_TTL, 57), controlMessage(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, 58)
	for name, c := range map[string]struct {
		oob  []byte
		want Arrival
	}{
		"both":          {append(bytes.Clone(at), four...), Arrival{TTL: 57, At: time.Unix(1000, 5)}},
		"IPv6":          {append(bytes.Clone(six), at...), Arrival{TTL: 58, At: time.Unix(1000, 5)}},
		"no time":       {four, Arrival{TTL: 57}},
		"another level": {controlMessage(unix.IPPROTO_TCP, unix.IP_TTL, 57), Arrival{}},
		"cut":           {at[:20], Arrival{}},
		"none":          {nil, Arrival{}},
		"no data":       {controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS), Arrival{}},
	} {
		if got := ParseArrival(c.oob); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// The kernel's time stamp counts, unless the clock was set meanwhile.
func TestArrivalSince(t *testing.T) {
	start := time.Now().Add(-time.Minute)
	for after, want := range map[time.Duration]time.Duration{
		20 * time.Millisecond: 20 * time.Millisecond,
		-time.Hour:            time.Minute,
		0:                     time.Minute,
		time.Hour:             time.Minute,
	} {
		a := Arrival{At: start.Round(0).Add(after)}
		if got := a.Since(start); got < want || got > want+10*time.Second {
			t.Errorf("stamped %s after: %s, want %s", after, got, want)
		}
	}
	if got := (Arrival{}).Since(start); got < time.Minute {
		t.Errorf("not stamped: %s", got)
	}
}

// The time that a reply took does not grow while nobody looks at it, as it would
// by a clock of ours.
func TestSlowReader(t *testing.T) {
	task := &Task{Target: addrPort(udpServer(t, func(b []byte) [][]byte { return [][]byte{b} }))}
	conn, hangUp, err := task.dial(t.Context(), "udp")
	if err != nil {
		t.Fatal(err)
	}
	defer hangUp()
	read, err := ArrivalReader(conn, true)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	a, err := read(b)
	if err != nil || a.N != 1 || b[0] != 'x' || a.TTL != 64 || a.From != task.Target.Addr() || a.At.IsZero() {
		t.Fatalf("%+v, %v", a, err)
	}
	took := a.Since(start)
	if again := a.Since(start); again != took {
		t.Errorf("it took %s, and later %s", took, again)
	}
}

func FuzzParseArrival(f *testing.F) {
	f.Add(controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1000, 5))
	f.Add(controlMessage(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, 58))
	f.Fuzz(func(t *testing.T, oob []byte) {
		a := ParseArrival(oob)
		if a.TTL < 0 || a.TTL > 255 {
			t.Errorf("TTL %d", a.TTL)
		}
		start := time.Now()
		if d := a.Since(start); d < 0 || d > time.Since(start) {
			t.Errorf("%s since now", d)
		}
		if b := withoutIPv4(oob); len(b) > len(oob) {
			t.Error("longer than before")
		}
	})
}
