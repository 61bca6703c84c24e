package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// Transport is how a DNS server is asked. The zero Transport is UDP, and TCP
// where the answer is cut short.
type Transport struct {
	Protocol   string // config's word: tcp, tls or https
	ServerName string // tls, https: whose certificate it must show; "": the address'
	Path       string // https
	CAFile     string // tls, https: trust these; "": the system's
}

// server adds the row of a DNS server, whose probes go by its link and, those of
// kind dns, by the protocol that the server is asked by. Its addresses are those
// of one server, so one that answers is enough. One without any address is down:
// there is nobody to ask (T42).
func (c *compiler) server(s *config.DNSServer, learnt func(name string) []netip.Addr) {
	link := c.links[s.Link]
	o := owner{id: status.MakeID(status.KindDNSServer, s.Name), pin: link.pin, by: link.by, any: true, probes: s.Probes, criteria: s.Criteria}
	if s.Protocol != config.DNSOverUDP {
		o.transport = Transport{Protocol: s.Protocol, ServerName: s.ServerName, Path: s.Path, CAFile: s.CAFile}
	}
	addresses := s.Addresses
	if s.Auto {
		addresses = nil
		if learnt != nil {
			addresses = learnt(s.Name)
		}
		if len(addresses) == 0 {
			o.missing = "link " + s.Link + " has been given no address of a DNS server"
		}
	}
	for _, a := range addresses {
		if !o.pin.Source.IsValid() || o.pin.Source.Is4() == a.Unmap().Is4() {
			o.targets = append(o.targets, netip.AddrPortFrom(a.Unmap(), s.Port))
		}
	}
	c.add(o)
}

// Servers gives what is probed of each DNS server, by its name: addresses, and
// the checks that speak of them. Those of no check are not probed.
func (p *Plan) Servers() map[string]map[netip.Addr][]status.ID {
	targets := make(map[status.ID]netip.Addr, len(p.Checks))
	for i := range p.Checks {
		targets[p.Checks[i].ID] = p.Checks[i].Target.Addr()
	}
	all := map[string]map[netip.Addr][]status.ID{}
	for _, v := range p.Verdicts {
		if v.ID.Kind() != status.KindDNSServer {
			continue
		}
		by := map[netip.Addr][]status.ID{}
		for _, need := range v.Probes {
			for _, id := range need.Checks {
				by[targets[id]] = append(by[targets[id]], id)
			}
		}
		all[v.ID.Name()] = by
	}
	return all
}

// exchange asks the target by its transport.
func (t *Task) exchange(ctx context.Context, query *dns.Msg) (*dns.Msg, error) {
	switch t.Transport.Protocol {
	case config.DNSOverTCP:
		return t.ask(ctx, "tcp", query)
	case config.DNSOverTLS:
		return t.askTLS(ctx, query)
	case config.DNSOverHTTPS:
		return t.askHTTPS(ctx, query)
	}
	reply, err := t.ask(ctx, "udp", query)
	if err == nil && reply.Truncated {
		reply, err = t.ask(ctx, "tcp", query)
	}
	return reply, err
}

// secure gives the TLS of the transport.
func (t *Task) secure() (*tls.Config, error) {
	of := *t
	probe := config.Probe{Host: t.Transport.ServerName, CAFile: t.Transport.CAFile}
	of.Probe = &probe
	return of.tlsConfig()
}

// askTLS makes one exchange over TLS (RFC 7858).
func (t *Task) askTLS(ctx context.Context, query *dns.Msg) (*dns.Msg, error) {
	conf, err := t.secure()
	if err != nil {
		return nil, err
	}
	raw, hangUp, err := t.dial(ctx, "tcp")
	if err != nil {
		return nil, err
	}
	defer hangUp()
	conn := tls.Client(raw, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	c := dns.Client{Net: "tcp-tls", Timeout: time.Duration(t.Probe.Timeout)}
	reply, _, err := c.ExchangeWithConnContext(ctx, query, &dns.Conn{Conn: conn})
	return reply, err
}

// askHTTPS makes one exchange over HTTPS (RFC 8484), of either version of HTTP
// that the server likes.
func (t *Task) askHTTPS(ctx context.Context, query *dns.Msg) (*dns.Msg, error) {
	conf, err := t.secure()
	if err != nil {
		return nil, err
	}
	query.Id = 0 // RFC 8484 4.1
	text, err := query.Pack()
	if err != nil {
		return nil, voidError(err.Error())
	}
	var hangUps []func()
	defer func() {
		for _, hangUp := range hangUps {
			hangUp()
		}
	}()
	transport := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, hangUp, err := t.dial(ctx, "tcp")
			if err == nil {
				hangUps = append(hangUps, hangUp)
			}
			return conn, err
		}}
	defer transport.CloseIdleConnections()
	url := "https://" + net.JoinHostPort(conf.ServerName, strconv.Itoa(int(t.Target.Port()))) + t.Transport.Path
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return nil, voidError(err.Error())
	}
	req.Header.Set("Content-Type", "application/dns-message")
	req.Header.Set("Accept", "application/dns-message")
	req.Header.Set("User-Agent", userAgent)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, dns.MaxMsgSize))
	if err != nil {
		return nil, err
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(body); err != nil {
		return nil, fmt.Errorf("no DNS message: %w", err)
	}
	if !reply.Response || reply.Id != 0 {
		return nil, errors.New("the message is not the answer to ours")
	}
	return reply, nil
}
