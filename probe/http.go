package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
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
// results, not orders: RoundTrip does not follow them.
func (t *Task) request(ctx context.Context, scheme string, conf *tls.Config) Result {
	p := t.Probe
	url := scheme + "://" + t.Target.String() + cmp.Or(p.Path, "/")
	req, err := http.NewRequestWithContext(ctx, cmp.Or(p.Method, http.MethodGet), url, nil)
	if err != nil {
		return t.void("cannot ask: %s", err)
	}
	req.Header.Set("User-Agent", userAgent)
	for name, value := range p.Headers {
		req.Header.Set(name, value)
	}
	req.Host = p.Host
	transport := &http.Transport{
		// The request's own context: the transport's has no deadline.
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return t.dial(ctx, "tcp") },
		TLSClientConfig:        conf,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxRead,
	}
	start := time.Now()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return t.httpFailed(err)
	}
	defer resp.Body.Close()
	return t.judgeHTTP(resp, time.Since(start))
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

// httpFailed is failed for errors that are HTTP's or TLS's.
func (t *Task) httpFailed(err error) Result {
	if why, ok := tlsTrouble(err); ok {
		return t.fail("%s", why)
	}
	return t.failed(err)
}
