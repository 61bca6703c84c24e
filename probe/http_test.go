package probe

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
)

func handler(t *testing.T) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("all is well")) })
	mux.HandleFunc("/503", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/chunked", func(w http.ResponseWriter, _ *http.Request) {
		for _, part := range []string{"all is ", "we", "ll"} {
			w.Write([]byte(part))
			w.(http.Flusher).Flush()
		}
	})
	mux.HandleFunc("/hang", func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(strings.Repeat("a", maxRead) + "well"))
	})
	mux.HandleFunc("/mirror", func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(strings.Join([]string{r.Method, r.Host, r.UserAgent(), r.Header.Get("X-Check"), r.URL.RawQuery, r.Header.Get("Connection")}, "|")))
	})
	return mux
}

// A probe of an endless response ends when it knows, not at its timeout.
func TestHTTPStream(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("data: well\n\n"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	for _, expect := range []string{"", "well"} {
		start := time.Now()
		def := config.Probe{Kind: "http", Expect: expect, Timeout: 60 * sec}
		want(t, probeOnce(t, server.Listener.Addr().String(), def), Pass, "HTTP 200 OK .*")
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("expecting %q it took %s", expect, d)
		}
	}
}

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(handler(t))
	defer server.Close()
	target := server.Listener.Addr().String()
	refuse := serve(t, "tcp", "127.0.0.1:0", func(net.Conn) {})
	for _, c := range []struct {
		name, target string
		def          config.Probe
		outcome      Outcome
		saw          string
	}{
		{"ok", target, config.Probe{Path: "/ok"}, Pass, `HTTP 200 OK in [0-9.]+ ms`},
		{"503", target, config.Probe{Path: "/503"}, Fail, `HTTP 503 Service Unavailable in [0-9.]+ ms`},
		{"status list", target, config.Probe{Path: "/503", Status: []int{200, 503}}, Pass, `HTTP 503 .*`},
		{"status list leaves 200 out", target, config.Probe{Path: "/ok", Status: []int{204}}, Fail, `HTTP 200 .*`},
		{"redirect is not followed", target, config.Probe{Path: "/away"}, Fail, `HTTP 302 Found in .*`},
		{"expect", target, config.Probe{Path: "/ok", Expect: "well"}, Pass, `HTTP 200 .*, body holds "well"`},
		{"expect in chunks, T55", target, config.Probe{Path: "/chunked", Expect: "is well"}, Pass, `.*body holds "is well"`},
		{"expect absent", target, config.Probe{Path: "/ok", Expect: "ill"}, Fail, `HTTP 200 OK in .*, but the first 11 bytes do not hold "ill"`},
		{"expect too late in the body", target, config.Probe{Path: "/long", Expect: "well"}, Fail, `.*first 65536 bytes do not hold.*`},
		{"body hangs", target, config.Probe{Path: "/hang", Expect: "x", Timeout: 100 * ms}, Fail, `HTTP 200 .*, but "x" did not come within 100ms`},
		{"what is sent", target, config.Probe{
			Path: "/mirror?a=b", Host: "www.example.com", Method: "POST", Headers: map[string]string{"X-Check": "1"},
			Expect: "POST|www.example.com|portolan-probe|1|a=b|close",
		}, Pass, `.*body holds.*`},
		{"refused", closedPort(t), config.Probe{}, Fail, "connection refused"},
		{"closed without a word", refuse, config.Probe{}, Fail, "connection closed before a reply|connection reset by peer"},
		{"bad method", target, config.Probe{Method: "A B"}, Void, "cannot ask: .*"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.def.Kind = "http"
			want(t, probeOnce(t, c.target, c.def), c.outcome, c.saw)
		})
	}
}

func TestHTTPSilence(t *testing.T) {
	mute := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) { c.Read(make([]byte, 4096)); c.Read(make([]byte, 1)) })
	def := config.Probe{Kind: "http", Timeout: 50 * ms}
	want(t, probeOnce(t, mute, def), Fail, "no reply within 50ms")
}

// testTLS is a server whose certificate, for example.com and 127.0.0.1, is its
// own authority, and a file with it.
func testTLS(t *testing.T) (target, caFile string) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler(t))
	server.Config.ErrorLog = quiet
	server.StartTLS()
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(caFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return server.Listener.Addr().String(), caFile
}

func TestHTTPS(t *testing.T) {
	target, ca := testTLS(t)
	empty := filepath.Join(t.TempDir(), "empty.pem")
	os.WriteFile(empty, nil, 0o600)
	for _, c := range []struct {
		name    string
		def     config.Probe
		outcome Outcome
		saw     string
	}{
		{"by address", config.Probe{Path: "/ok", CAFile: ca}, Pass, `HTTP 200 OK in .*`},
		{"by name", config.Probe{Path: "/ok", CAFile: ca, Host: "example.com"}, Pass, `HTTP 200 OK in .*`},
		{"host with port", config.Probe{Path: "/ok", CAFile: ca, Host: "example.com:8443"}, Pass, `HTTP 200 OK in .*`},
		{"other name", config.Probe{Path: "/ok", CAFile: ca, Host: "www.example.org"}, Fail, `certificate not accepted: .*not www.example.org`},
		{"not trusted", config.Probe{Path: "/ok"}, Fail, `certificate not accepted: .*unknown authority`},
		{"insecure", config.Probe{Path: "/ok", Insecure: true}, Pass, `HTTP 200 OK in .*`},
		{"no such file", config.Probe{CAFile: "/nowhere/ca.pem"}, Void, `caFile: open /nowhere/ca.pem: no such file or directory`},
		{"empty file", config.Probe{CAFile: empty}, Void, `caFile .*empty.pem holds no certificate`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.def.Kind = "https"
			want(t, probeOnce(t, target, c.def), c.outcome, c.saw)
		})
	}
	plain := serve(t, "tcp", "127.0.0.1:0", func(c net.Conn) { c.Write([]byte("220 mail ready\r\n")); c.Read(make([]byte, 512)) })
	want(t, probeOnce(t, plain, config.Probe{Kind: "https"}), Fail, `not TLS: .*`)
}
