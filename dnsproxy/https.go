package dnsproxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const dnsMessage = "application/dns-message"

// httpsClient asks one server over one link by DNS over HTTPS (RFC 8484). Its
// connections are pinned, reused, and HTTP/2 where the server has it.
type httpsClient struct {
	client    *http.Client
	transport *http.Transport
	url       string
}

func newHTTPS(w way, host, path string, conf *tls.Config) *httpsClient {
	t := &http.Transport{
		Proxy:                  nil, // the link is the way, not a proxy of the environment
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dialTCP(ctx, w) },
		TLSClientConfig:        conf,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxConnsPerHost:        maxStreams,
		MaxIdleConnsPerHost:    maxStreams,
		IdleConnTimeout:        streamIdle,
		MaxResponseHeaderBytes: 16 << 10,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 2 * time.Second},
	}
	c := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &httpsClient{client: c, transport: t, url: "https://" + host + path}
}

// ask posts one query. The deadline is that of ctx.
func (c *httpsClient) ask(ctx context.Context, query []byte, s sent) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(query))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", dnsMessage)
	r.Header.Set("Accept", dnsMessage)
	r.Header.Set("User-Agent", "")
	resp, err := c.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("https: status %d", resp.StatusCode)
	case resp.Header.Get("Content-Type") != dnsMessage:
		return nil, errors.New("https: the answer is no DNS message")
	}
	msg, err := io.ReadAll(io.LimitReader(resp.Body, maxStreamAnswer+1))
	if err != nil {
		return nil, err
	}
	if err := plausible(msg, maxStreamAnswer); err != nil {
		return nil, err
	}
	if s.matches(msg) == stray {
		return nil, errors.New("https: it answers another question")
	}
	return msg, nil
}
