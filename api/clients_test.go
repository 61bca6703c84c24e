package api_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/api"
)

// However many connections one address leaves half open, another's /healthz is
// answered within a second, and the one has no more than its share.
func TestMonitorSharesItsPlaces(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- api.New(newDaemon().options()).ServeMonitor(ctx, l) }()
	hog := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	var conns []net.Conn
	for range 200 {
		c, err := hog.DialContext(ctx, "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		conns = append(conns, c)
	}
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}}
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DialContext: other.DialContext, DisableKeepAlives: true}}
	resp, err := client.Get("http://" + l.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("/healthz: %s", resp.Status)
	}
	began := time.Now() // the last one is far beyond the share: closed at once, or within the time for headers
	for _, c := range conns {
		_ = c.SetReadDeadline(began.Add(4 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("an answer to nothing")
		} else if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Fatal("a half-open connection is still there after 4 s")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
