package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/dnsproxy"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/proximity"
	"github.com/portolan-lb/portolan/status"
)

// maxAnswer is how many bytes of an answer are read.
const maxAnswer = 256 << 20

// Client speaks to the daemon behind one socket. It is safe for concurrent
// use.
type Client struct {
	socket string
	http   *http.Client
}

// New gives a client. It connects only when something is asked.
func New(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Pools lists the pools.
func (c *Client) Pools(ctx context.Context) ([]api.Pool, error) {
	return get[[]api.Pool](ctx, c, nil, "v1", "pools")
}

// Members lists the members of a pool, or of all pools if pool is empty.
func (c *Client) Members(ctx context.Context, pool string) ([]api.Member, error) {
	return get[[]api.Member](ctx, c, url.Values{"pool": {pool}}, "v1", "members")
}

// VirtualServers lists the virtual servers.
func (c *Client) VirtualServers(ctx context.Context) ([]api.VirtualServer, error) {
	return get[[]api.VirtualServer](ctx, c, nil, "v1", "virtualservers")
}

// Links lists the links.
func (c *Client) Links(ctx context.Context) ([]api.Link, error) {
	return get[[]api.Link](ctx, c, nil, "v1", "links")
}

// LinkGroups lists the link groups.
func (c *Client) LinkGroups(ctx context.Context) ([]api.LinkGroup, error) {
	return get[[]api.LinkGroup](ctx, c, nil, "v1", "linkgroups")
}

// Link tells of one link.
func (c *Client) Link(ctx context.Context, name string) (api.Link, error) {
	return get[api.Link](ctx, c, nil, "v1", "links", name)
}

// ReportServer reports of a virtual server.
func (c *Client) ReportServer(ctx context.Context, name string, r api.ServerReportRequest) (api.ServerReported, error) {
	var done api.ServerReported
	err := c.call(ctx, http.MethodPut, nil, r, &done, "v1", "virtualservers", name, "report")
	return done, err
}

// ReportRate reports what a link carries.
func (c *Client) ReportRate(ctx context.Context, name string, r api.RateReport) (api.RateReported, error) {
	var done api.RateReported
	err := c.call(ctx, http.MethodPut, nil, r, &done, "v1", "links", name, "rate")
	return done, err
}

// ReportDNS tells the DNS servers that a link was given.
func (c *Client) ReportDNS(ctx context.Context, link string, r api.DNSReport) (api.DNSReported, error) {
	var done api.DNSReported
	err := c.call(ctx, http.MethodPut, nil, r, &done, "v1", "links", link, "dns")
	return done, err
}

// DNSServers lists the DNS servers of the DNS proxy.
func (c *Client) DNSServers(ctx context.Context) ([]api.DNSServer, error) {
	return get[[]api.DNSServer](ctx, c, nil, "v1", "dnsservers")
}

// DNSProxy tells how the DNS proxy stands.
func (c *Client) DNSProxy(ctx context.Context) (api.DNSProxyState, error) {
	return get[api.DNSProxyState](ctx, c, nil, "v1", "dnsproxy")
}

// ExplainDNSProxy asks what would become of a client's DNS query.
func (c *Client) ExplainDNSProxy(ctx context.Context, a dnsproxy.Ask) (*dnsproxy.Explanation, error) {
	v := url.Values{"name": {a.Name}, "type": {a.TypeText()}, "client": {a.Client.String()}, "asked": {a.Asked.String()}}
	var e dnsproxy.Explanation
	return &e, c.call(ctx, http.MethodGet, v, nil, &e, "v1", "explain", "dnsproxy")
}

// Sites lists the sites.
func (c *Client) Sites(ctx context.Context) ([]api.Site, error) {
	return get[[]api.Site](ctx, c, nil, "v1", "sites")
}

// Probes lists every check with its evidence.
func (c *Client) Probes(ctx context.Context) ([]probe.History, error) {
	return get[[]probe.History](ctx, c, nil, "v1", "probes")
}

// Zones lists the zones and their dynamic names.
func (c *Client) Zones(ctx context.Context) ([]api.Zone, error) {
	return get[[]api.Zone](ctx, c, nil, "v1", "zones")
}

// Events lists what happened after the event with the number after (0: all
// that is remembered), at most the newest limit of it (0: no bound).
func (c *Client) Events(ctx context.Context, after uint64, limit int) ([]status.Event, error) {
	q := url.Values{"after": {strconv.FormatUint(after, 10)}, "limit": {strconv.Itoa(max(limit, 0))}}
	return get[[]status.Event](ctx, c, q, "v1", "events")
}

// Holds lists the holds in force.
func (c *Client) Holds(ctx context.Context) ([]api.Hold, error) {
	return get[[]api.Hold](ctx, c, nil, "v1", "holds")
}

// Describe tells everything about one thing. Config and State of the
// description come as maps.
func (c *Client) Describe(ctx context.Context, kind, name string) (api.Description, error) {
	return get[api.Description](ctx, c, nil, append([]string{"v1", "describe", kind}, strings.Split(name, "/")...)...)
}

// Explain asks why a question is answered as it is, and puts the explanation
// into a value of the caller's type.
func (c *Client) Explain(ctx context.Context, q api.ExplainQuery, into any) error {
	v := url.Values{"name": {q.Name}, "type": {q.Type}, "client": {q.Client.String()}}
	if q.ECS.IsValid() {
		v.Set("ecs", q.ECS.String())
	}
	for _, id := range q.Down {
		v.Add("down", string(id))
	}
	return c.call(ctx, http.MethodGet, v, nil, into, "v1", "explain")
}

// ExplainFlow asks what becomes of a connection.
func (c *Client) ExplainFlow(ctx context.Context, q flow.Question) (*flow.Explanation, error) {
	v := url.Values{"from": {q.FromText()}, "to": {q.ToText()}, "in": {q.In}}
	var e flow.Explanation
	return &e, c.call(ctx, http.MethodGet, v, nil, &e, "v1", "explain", "flow")
}

// Apply puts a configuration in the place of the one that runs.
func (c *Client) Apply(ctx context.Context, change api.Change) (api.Applied, error) {
	var a api.Applied
	err := c.call(ctx, http.MethodPost, nil, change, &a, "v1", "apply")
	return a, err
}

// Reload makes the daemon read its configuration again.
func (c *Client) Reload(ctx context.Context) (api.Applied, error) {
	var a api.Applied
	err := c.call(ctx, http.MethodPost, nil, nil, &a, "v1", "reload")
	return a, err
}

// Hold puts an operator's word on a row.
func (c *Client) Hold(ctx context.Context, req api.HoldRequest) (api.Held, error) {
	var h api.Held
	err := c.call(ctx, http.MethodPost, nil, req, &h, "v1", "holds")
	return h, err
}

// Release ends a hold.
func (c *Client) Release(ctx context.Context, id, reason string) (api.Held, error) {
	var h api.Held
	path := append([]string{"v1", "holds"}, strings.Split(id, "/")...)
	err := c.call(ctx, http.MethodDelete, url.Values{"reason": {reason}}, nil, &h, path...)
	return h, err
}

// Ready asks whether the daemon can do its work. A daemon that cannot is not
// an error.
func (c *Client) Ready(ctx context.Context) (api.Readiness, error) {
	return get[api.Readiness](ctx, c, nil, "readyz")
}

// ChangeZone adds, replaces or removes a zone, and returns when that is served
// and kept.
func (c *Client) ChangeZone(ctx context.Context, z api.ZoneChange) (api.ZoneChanged, error) {
	method := map[api.ZoneVerb]string{api.AddZone: http.MethodPost, api.ReplaceZone: http.MethodPut, api.RemoveZone: http.MethodDelete}[z.Verb]
	var done api.ZoneChanged
	err := c.send(ctx, method, url.Values{"file": {z.From}}, "text/dns", z.Text, &done, "v1", "zones", z.Name)
	return done, err
}

// Proximity lists entries of the table of measured distances.
func (c *Client) Proximity(ctx context.Context, q proximity.Query) (api.ProximityList, error) {
	v := url.Values{"state": {q.State}, "limit": {strconv.Itoa(max(q.Limit, 0))}}
	if q.Client.IsValid() {
		v.Set("client", q.Client.String())
	}
	if q.After.IsValid() {
		v.Set("after", q.After.String())
	}
	return get[api.ProximityList](ctx, c, v, "v1", "proximity")
}

// ProximityStats gives the counters of proximity.
func (c *Client) ProximityStats(ctx context.Context) (api.ProximityStats, error) {
	return get[api.ProximityStats](ctx, c, nil, "v1", "proximity", "stats")
}

// ClearProximity forgets the entries inside a network, or all with the zero
// Prefix.
func (c *Client) ClearProximity(ctx context.Context, network netip.Prefix, reason string) (api.ProximityCleared, error) {
	v := url.Values{"reason": {reason}}
	if network.IsValid() {
		v.Set("network", network.String())
	} else {
		v.Set("all", "true")
	}
	var done api.ProximityCleared
	err := c.call(ctx, http.MethodDelete, v, nil, &done, "v1", "proximity")
	return done, err
}

func get[T any](ctx context.Context, c *Client, q url.Values, path ...string) (T, error) {
	var v T
	err := c.call(ctx, http.MethodGet, q, nil, &v, path...)
	return v, err
}

// call makes one request with a body of JSON, or none.
func (c *Client) call(ctx context.Context, method string, q url.Values, body, into any, path ...string) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return api.Errorf(api.Invalid, "%v", err)
		}
	}
	return c.send(ctx, method, q, "application/json", text, into, path...)
}

// send makes one request. Parts of the path may hold anything.
func (c *Client) send(ctx context.Context, method string, q url.Values, mediaType string, text []byte, into any, path ...string) error {
	u := url.URL{Scheme: "http", Host: "portolan", RawQuery: q.Encode()}
	for _, part := range path {
		// A part of dots alone would be taken for a step of the path.
		u.RawPath += "/" + strings.ReplaceAll(url.PathEscape(part), ".", "%2E")
		u.Path += "/" + part
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(text))
	if err != nil {
		return api.Errorf(api.Invalid, "%v", err)
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	return c.read(resp, into)
}

func (c *Client) read(resp *http.Response, into any) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return c.unreachable(err)
	case len(text) > maxAnswer:
		return api.Errorf(api.Internal, "the daemon's answer has more than %d bytes", maxAnswer)
	}
	if resp.StatusCode != http.StatusOK {
		var e api.Error
		if err := json.Unmarshal(text, &e); err == nil && e.Kind != "" {
			return &e
		}
	}
	if err := json.Unmarshal(text, into); err != nil {
		return api.Errorf(api.Internal, "the daemon's answer (%s) cannot be read: %v", resp.Status, err)
	}
	return nil
}

// unreachable says in the operator's words why nobody answered.
func (c *Client) unreachable(err error) error {
	why := err.Error()
	var u *url.Error
	if errors.As(err, &u) {
		why = u.Err.Error()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		why = "nobody answers; is portolan serve running?"
	case errors.Is(err, fs.ErrPermission):
		why = "permission denied; only its owner and group may ask"
	}
	return &api.Error{Kind: api.Unavailable, Text: fmt.Sprintf("api socket %s: %s", c.socket, why)}
}
