package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask makes a request without a socket.
func ask(h http.Handler, method, target, contentType string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, body)
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	first, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(socket)
	if err != nil || st.Mode().Perm() != 0o660 || st.Mode().Type() != os.ModeSocket {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := api.Listen(socket); err == nil || !strings.Contains(err.Error(), "another portolan answers on it") {
		t.Errorf("a second one: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestSocketOfTheDead: a socket that nobody listens on gives way.
func TestSocketOfTheDead(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRunFails(t *testing.T) {
	err := api.New(newDaemon().options()).Run(t.Context(), filepath.Join(t.TempDir(), "no", "folder", "s"))
	if err == nil || !strings.HasPrefix(err.Error(), "api socket ") {
		t.Errorf("got %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	_, err := client.New(socket).Pools(t.Context())
	wantError(t, err, api.Unavailable, "api socket "+socket+": nobody answers; is portolan serve running?")
	if code := err.(*api.Error).ExitCode(); code != 2 {
		t.Errorf("exit code %d", code)
	}
}

func TestBadBodies(t *testing.T) {
	h := api.New(newDaemon().options()).Handler()
	for _, c := range []struct{ path, contentType, body, want string }{
		{"/v1/holds", "text/yaml", `{}`, "the body must be application/json"},
		{"/v1/holds", "application/json", `{`, "the body: unexpected EOF"},
		{"/v1/holds", "application/json", `{"identity": 1}`, `the body: json: unknown field \"identity\"`},
		{"/v1/holds", "application/json", `{"id": 1}`, "the body: json: cannot unmarshal number"},
		{"/v1/holds", "application/json", `{} {}`, "the body goes on after its JSON value"},
		{"/v1/holds", "application/json", `{"id":"` + strings.Repeat("x", api.MaxSmallBody) + `"}`, "the request has more than 65536 bytes"},
		{"/v1/apply", "application/json", `{"base":"` + strings.Repeat("x", api.MaxBody) + `"}`, "the request has more than 33554432 bytes"},
	} {
		w := ask(h, "POST", c.path, c.contentType, strings.NewReader(c.body))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%.40s: %d %.200s\nwant %s", c.body, w.Code, w.Body, c.want)
		}
	}
}

func TestErrorsAreJSON(t *testing.T) {
	h := api.New(newDaemon().options()).Handler()
	for _, c := range []struct {
		method, target string
		code           int
		body           string
	}{
		{"GET", "/v1/nothing", 404, `{"kind":"not-found","error":"there is no GET /v1/nothing"}`},
		{"POST", "/v1/pools", 405, `{"kind":"not-allowed","error":"/v1/pools takes GET, not POST"}`},
		{"PUT", "/v1/apply", 405, `{"kind":"not-allowed","error":"/v1/apply takes POST, not PUT"}`},
		{"GET", "/v1/events?after=x", 400, `{"kind":"invalid","error":"after=\"x\" is not a number"}`},
		{"GET", "/v1/explain?name=a&client=::1%25eth0", 400, `{"kind":"invalid","error":"client \"::1%eth0\" is not an address"}`},
		{"GET", "/v1/explain?name=a&client=::1&ecs=x", 400, `{"kind":"invalid","error":"ecs \"x\" is not a prefix such as 203.0.113.0/24"}`},
		{"GET", "/healthz", 200, `{"alive":true}`},
	} {
		w := ask(h, c.method, c.target, "", nil)
		if w.Code != c.code || strings.TrimSpace(w.Body.String()) != c.body || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %d %s\nwant %d %s", c.method, c.target, w.Code, w.Body, c.code, c.body)
		}
	}
}

func TestPanicIsSurvived(t *testing.T) {
	d := newDaemon()
	d.enter = func() { panic("boom") }
	h := api.New(d.options()).Handler()
	w := ask(h, "GET", "/v1/explain?name=a&client=::1", "", nil)
	if w.Code != 500 || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(h, "GET", "/metrics", "", nil); !strings.Contains(w.Body.String(), "portolan_api_panics_total 1\n") {
		t.Error("the panic is not counted")
	}
}

// TestOverload fills every place with requests that do not end: more are told
// to come again, and health checks still answer.
func TestOverload(t *testing.T) {
	d := newDaemon()
	entered, leave := make(chan struct{}), make(chan struct{})
	d.enter = func() { entered <- struct{}{}; <-leave }
	h := api.New(d.options()).Handler()
	var asking sync.WaitGroup
	for range api.MaxRequests {
		asking.Go(func() {
			if w := ask(h, "GET", "/v1/explain?name=a&client=::1", "", nil); w.Code != 200 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
		<-entered
	}
	for target, code := range map[string]int{"/v1/pools": 503, "/metrics": 503, "/healthz": 200, "/readyz": 200} {
		if w := ask(h, "GET", target, "", nil); w.Code != code || code == 503 && w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	close(leave)
	asking.Wait()
	if w := ask(h, "GET", "/v1/pools", "", nil); w.Code != 200 {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
}

func TestHeaderBound(t *testing.T) {
	_, socket := serve(t, newDaemon().options())
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	// The server may close before it has read everything; then writing fails.
	_, _ = fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nBig: %s\r\n\r\n", strings.Repeat("x", api.MaxHeader+8192))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %s", resp.Status)
	}
}

// TestConnectionBound: silent connections up to the bound keep others waiting,
// and closing one lets the next in.
func TestConnectionBound(t *testing.T) {
	c, socket := serve(t, newDaemon().options())
	var silent []net.Conn
	for range api.MaxConnections {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		silent = append(silent, conn)
	}
	answered := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_, err := c.Pools(ctx)
		answered <- err
	}()
	if _, err := silent[0].Write([]byte("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	reply, err := io.ReadAll(silent[0])
	if err != nil || !bytes.Contains(reply, []byte("200 OK")) {
		t.Fatalf("%q, %v", reply, err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// TestStop: a request that is under way when the server stops is answered.
func TestStop(t *testing.T) {
	d := newDaemon()
	entered, leave := make(chan struct{}), make(chan struct{})
	d.enter = func() { close(entered); <-leave }
	socket := filepath.Join(t.TempDir(), "s")
	ctx, stop := context.WithCancel(t.Context())
	l, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	stopped, asked := make(chan error, 1), make(chan error, 1)
	go func() { stopped <- api.New(d.options()).Serve(ctx, l) }()
	go func() {
		var v any
		q := api.ExplainQuery{Name: "a", Client: netip.MustParseAddr("::1")}
		asked <- client.New(socket).Explain(t.Context(), q, &v)
	}()
	<-entered
	stop()
	close(leave)
	if err := errors.Join(<-asked, <-stopped); err != nil {
		t.Error(err)
	}
}

// FuzzRequest: whatever comes in through the door, the answer is JSON and
// nothing inside breaks.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][3]string{
		{"GET", "/v1/members?pool=web", ""},
		{"GET", "/v1/describe/member/web/a", ""},
		{"GET", "/v1/explain?name=www.example.com&client=192.0.2.1&ecs=10.0.0.0/8&down=link/north", ""},
		{"GET", "/v1/events?after=1&limit=1", ""},
		{"POST", "/v1/holds", `{"id":"a","state":"drain","reason":"x","for":"1h"}`},
		{"DELETE", "/v1/holds/virtualServer/a?reason=x", ""},
		{"POST", "/v1/apply", `{"base":"/etc","files":{"a":"b"}}`},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	h := api.New(newDaemon().options()).Handler()
	f.Fuzz(func(t *testing.T, method, target, body string) {
		if !strings.HasPrefix(target, "/v1/") {
			return
		}
		r, err := http.NewRequest(method, "http://portolan"+target, strings.NewReader(body))
		if err != nil {
			return
		}
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%s %q %q: %s", method, target, body, w.Body)
		}
		if w.Code/100 != 3 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %q %q: not JSON: %q", method, target, body, w.Body)
		}
	})
}
