package demo

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/portolan-lb/portolan/daemon"
)

//go:embed sample
var sample embed.FS

// Run runs the demo until ctx ends. It writes its files into a new folder and
// removes it at the end. What to try goes to out, the daemon's log to log.
func Run(ctx context.Context, out io.Writer, log *slog.Logger) (err error) {
	dir, err := os.MkdirTemp("", "portolan-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	files, err := fs.Sub(sample, "sample")
	if err != nil {
		return err
	}
	if err := os.CopyFS(dir, files); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range sites() {
		g.Go(func() error { return s.run(ctx) })
	}
	d := daemon.New(daemon.Options{
		Config: filepath.Join(dir, "portolan.yaml"),
		State:  filepath.Join(dir, "state"),
		Socket: filepath.Join(dir, "portolan.sock"),
		Log:    log,
		Ready:  func(d *daemon.Daemon) { g.Go(func() error { return tellWhenReady(ctx, d, out, dir) }) },
	})
	g.Go(func() error { return d.Run(ctx) })
	return g.Wait()
}

// tellWhenReady prints the guide once every pool answers, a second or so after
// the start.
func tellWhenReady(ctx context.Context, d *daemon.Daemon, out io.Writer, dir string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(d.NotReady()) > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	_, err := fmt.Fprintf(out, guide, dir)
	return err
}

// guide is printed when all is up; its argument is the folder.
const guide = `
The demo runs: three sites, 127.0.0.11 (east), .12 (west), .13 (north), and DNS
on 127.0.0.1:5300. Its configuration is %[1]s/portolan.yaml.

Ask, from another terminal:
  dig @127.0.0.1 -p 5300 www.example.com +subnet=203.0.113.0/24    # a client of the west
  dig @127.0.0.1 -p 5300 www.example.com +subnet=198.51.100.0/24   # a client of the east
  dig @127.0.0.1 -p 5300 -b 127.0.0.103 www.example.com            # by source: the north
  dig @127.0.0.1 -p 5300 rr.example.com +short                     # 3 : 2 : 1, again and again
  dig @127.0.0.1 -p 5300 www.example.com HTTPS                     # hints from the same decision
  dig @127.0.0.1 -p 5300 example.com MX +tcp

Ask why:
  export PORTOLAN_SOCKET=%[1]s/portolan.sock
  portolan explain www.example.com A --client 203.0.113.7
  portolan explain www.example.com A --client 203.0.113.7 --down virtualServer/web-west
  portolan get pools
  portolan describe virtualserver web-west

Stop a site, watch the answers move within three seconds, and start it again:
  portolan demo stop west
  portolan explain www.example.com A --client 203.0.113.7
  portolan demo start west
  portolan hold virtualServer/web-east --reason "maintenance" --for 10m

(portolan is ./bin/portolan after make build. Ctrl-C ends the demo.)
`

// post sends an empty request and gives the reply's text.
func post(ctx context.Context, url string) (text string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("no demo answers: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return string(body), err
}
