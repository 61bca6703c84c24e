package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/outbound"
)

// Hits counts who had new connections.
func (c *Client) Hits(ctx context.Context) ([]outbound.Hit, error) {
	return get[[]outbound.Hit](ctx, c, nil, "v1", "outbound")
}

// Sessions lists sessions that go over links, or to virtual servers. Of an answer
// that broke off it gives what came, and the error.
func (c *Client) Sessions(ctx context.Context, q api.SessionQuery) (api.SessionList, error) {
	v := url.Values{"limit": {strconv.Itoa(max(q.Limit, 0))}, "link": {q.Link}}
	setServer(v, q.VirtualServer, q.Farm, q.Server)
	if q.Client.IsValid() {
		v.Set("client", q.Client.String())
	}
	if q.To.IsValid() {
		v.Set("to", q.To.String())
	}
	if q.Protocol > 0 {
		v.Set("protocol", strconv.Itoa(int(q.Protocol)))
	}
	if q.Port > 0 {
		v.Set("port", strconv.Itoa(int(q.Port)))
	}
	l, err := get[api.SessionList](ctx, c, v, "v1", "sessions")
	return l, whole(l.Error, err)
}

// setServer says of which virtual server, farm and real server something is
// asked.
func setServer(v url.Values, virtual, farm, server string) {
	v.Set("virtualserver", virtual)
	v.Set("farm", farm)
	if server != "" {
		v.Set("server", farm+"/"+server)
	}
}

// Sticky lists at most limit entries of persistence.
func (c *Client) Sticky(ctx context.Context, q api.StickyQuery, limit int) (api.StickyList, error) {
	v := stickyValues(q)
	v.Set("limit", strconv.Itoa(max(limit, 0)))
	l, err := get[api.StickyList](ctx, c, v, "v1", "sticky")
	return l, whole(l.Error, err)
}

// ClearSticky has entries of persistence forgotten; with the zero query all.
func (c *Client) ClearSticky(ctx context.Context, q api.StickyQuery, reason string) (api.StickyCleared, error) {
	v := stickyValues(q)
	v.Set("reason", reason)
	if q == (api.StickyQuery{}) {
		v.Set("all", "true")
	}
	var done api.StickyCleared
	err := c.call(ctx, http.MethodDelete, v, nil, &done, "v1", "sticky")
	return done, err
}

func stickyValues(q api.StickyQuery) url.Values {
	v := url.Values{"group": {q.Group}, "link": {q.Link}}
	setServer(v, q.VirtualServer, q.Farm, q.Server)
	if q.Client.IsValid() {
		v.Set("client", q.Client.String())
	}
	return v
}

// whole makes an error of why an answer broke off.
func whole(why string, err error) error {
	if err == nil && why != "" {
		return api.Errorf(api.Unavailable, "the answer broke off: %s", why)
	}
	return err
}
