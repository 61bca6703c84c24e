package probe

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"
)

// userAgent names us in the logs of those we probe.
const userAgent = "portolan-probe"

func probeHTTP(ctx context.Context, t *Task) Result { return t.request(ctx, "http", nil) }

func probeHTTPS(ctx context.Context, t *Task) Result {
	conf, err := t.tlsConfig()
	if err != nil {
		return t.failed(err)
	}
	return t.request(ctx, "https", conf)
}

// request makes one HTTP/1.1 request on a connection of its own. Redirects are
// results, not orders.
func (t *Task) request(ctx context.Context, scheme string, conf *tls.Config) Result {
	p := t.Probe
	url := scheme + "://" + t.Target.String() + cmp.Or(p.Path, "/")
	req, err := http.NewRequest(cmp.Or(p.Method, http.MethodGet), url, nil)
	if err != nil {
		return t.void("cannot ask: %s", err)
	}
	req.Host, req.Close = cmp.Or(p.Host, req.Host), true
	req.Header.Set("User-Agent", userAgent)
	for name, value := range p.Headers {
		req.Header.Set(name, value)
	}
	start := time.Now()
	conn, hangUp, err := t.dial(ctx, "tcp")
	if err != nil {
		return t.failed(err)
	}
	defer hangUp()
	if conf != nil {
		conn = tls.Client(conn, conf) // shakes hands at the first write
	}
	resp, err := roundTrip(conn, req)
	if err != nil {
		return t.failed(err)
	}
	// The body is not closed, for that would read it to its end, and a stream
	// has none. It holds nothing but conn, which hangUp closes.
	return t.judgeHTTP(resp, time.Since(start))
}

// roundTrip sends a request and reads its response. http.Transport would do it
// too, but it reads ahead in goroutines that outlive the call and words some
// errors after what it thinks the server meant.
func roundTrip(conn net.Conn, req *http.Request) (*http.Response, error) {
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	// As much again for the header as for the body that is searched.
	r := bufio.NewReader(io.LimitReader(conn, 2*maxRead))
	for {
		resp, err := http.ReadResponse(r, req)
		if err != nil || resp.StatusCode/100 != 1 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, err
		}
		resp.Body.Close() // 100 Continue, 103 Early Hints: the answer follows
	}
}

// judgeHTTP checks the status and then, only if text is expected, the start of
// the body, whether it has a length or is chunked (T55).
func (t *Task) judgeHTTP(resp *http.Response, d time.Duration) Result {
	seen := fmt.Sprintf("HTTP %s in %s", resp.Status, took(d))
	good := resp.StatusCode/100 == 2
	if len(t.Probe.Status) > 0 {
		good = slices.Contains(t.Probe.Status, resp.StatusCode)
	}
	if !good {
		return t.fail("%s", seen)
	}
	if t.Probe.Expect == "" {
		return t.pass("%s", seen)
	}
	got, found, err := search(resp.Body, []byte(t.Probe.Expect))
	switch {
	case found:
		return t.pass("%s, body holds %q", seen, t.Probe.Expect)
	case isTimeout(err):
		return t.fail("%s, but %q did not come within %s", seen, t.Probe.Expect, time.Duration(t.Probe.Timeout))
	default:
		return t.fail("%s, but the first %d bytes do not hold %q", seen, len(got), t.Probe.Expect)
	}
}
