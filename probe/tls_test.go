package probe

import (
	"crypto/x509"
	"io"
	"log"
	"net"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// quiet is for servers that would complain of the probes they are tested with.
var quiet = log.New(io.Discard, "", 0)

func TestTLS(t *testing.T) {
	target, ca := testTLS(t)
	mute := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) { io.Copy(io.Discard, c) })
	for _, c := range []struct {
		name, target string
		def          config.Probe
		outcome      Outcome
		saw          string
	}{
		{"verified", target, config.Probe{CAFile: ca, Host: "example.com"}, Pass, `TLS 1.3 in [0-9.]+ ms, certificate expires in [0-9]+ days`},
		{"not trusted", target, config.Probe{}, Fail, `certificate not accepted: .*unknown authority`},
		{"insecure", target, config.Probe{Insecure: true}, Pass, `TLS 1.3 .*`},
		{"send and expect", target, config.Probe{Insecure: true, Send: `GET /ok HTTP/1.0\r\n\r\n`, Expect: "all is well"}, Pass, `TLS 1.3 .* received`},
		{"handshake hangs", mute, config.Probe{Timeout: 50 * ms}, Fail, `no reply within 50ms`},
		{"refused", closedPort(t), config.Probe{}, Fail, `connection refused`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.def.Kind = "tls"
			want(t, probeOnce(t, c.target, c.def), c.outcome, c.saw)
		})
	}
}

func TestExpiry(t *testing.T) {
	now := time.Now()
	for left, saw := range map[time.Duration]string{
		49 * time.Hour: "certificate expires in 2 days", -73 * time.Hour: "certificate expired 3 days ago",
	} {
		if got := expiry(&x509.Certificate{NotAfter: now.Add(left)}, now); got != saw {
			t.Errorf("%s: got %q", left, got)
		}
	}
}
