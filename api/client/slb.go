package client

import (
	"context"
	"net/url"
	"strconv"

	"github.com/portolan-lb/portolan/api"
)

// Farms lists server farms, at most limit; 0: as many as may be.
func (c *Client) Farms(ctx context.Context, limit int) (api.FarmList, error) {
	l, err := get[api.FarmList](ctx, c, url.Values{"limit": {strconv.Itoa(limit)}}, "v1", "farms")
	return l, whole(l.Error, err)
}

// RealServers lists the servers of a farm, or of all if farm is empty, at most
// limit; 0: as many as may be.
func (c *Client) RealServers(ctx context.Context, farm string, limit int) (api.RealServerList, error) {
	l, err := get[api.RealServerList](ctx, c, url.Values{"farm": {farm}, "limit": {strconv.Itoa(limit)}}, "v1", "realservers")
	return l, whole(l.Error, err)
}

// SNATPools lists SNAT pools.
func (c *Client) SNATPools(ctx context.Context) ([]api.SNATPool, error) {
	return get[[]api.SNATPool](ctx, c, nil, "v1", "snatpools")
}

// Served counts who of what serves virtual servers had new connections.
func (c *Client) Served(ctx context.Context, q api.CounterQuery) (api.CounterList, error) {
	v := url.Values{"limit": {strconv.Itoa(q.Limit)}}
	setServer(v, q.VirtualServer, q.Farm, q.Server)
	l, err := get[api.CounterList](ctx, c, v, "v1", "slb")
	return l, whole(l.Error, err)
}
