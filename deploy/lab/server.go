package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// virtualServer is an address that answers carry: a server of a site, as it is
// reached by one link.
type virtualServer struct {
	name  string // east-telecom
	site  string
	link  string
	addr4 netip.Addr
	addr6 netip.Addr
}

// virtualServers gives one of each site and link.
func virtualServers(o *options) (all []virtualServer) {
	for _, s := range sites {
		for _, i := range isps {
			all = append(all, virtualServer{s.name + "-" + i.name, s.name, i.name, o.addr4(i.public, s.host), o.addr6(i.public, s.host)})
		}
	}
	return all
}

// server is the HTTP server behind a virtual server, in its site.
type server struct {
	virtualServer
	site *space

	mu   sync.Mutex
	http *http.Server // nil while it is stopped
	wait sync.WaitGroup
}

// start opens the server; one that runs is left alone.
func (s *server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		return nil
	}
	var opened []net.Listener
	for _, a := range []netip.Addr{s.addr4, s.addr6} {
		var l net.Listener
		var err error
		s.site.do(func() { l, err = net.Listen("tcp", netip.AddrPortFrom(a, 80).String()) })
		if err != nil {
			return errors.Join(fmt.Errorf("server %s: %w", s.name, err), closeAll(opened))
		}
		opened = append(opened, l)
	}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, s.name) }),
		ReadHeaderTimeout: 5 * time.Second,
	}
	for _, l := range opened {
		server := s.http
		s.wait.Go(func() { _ = server.Serve(l) }) // it ends when it is closed
	}
	return nil
}

func closeAll(all []net.Listener) (err error) {
	for _, l := range all {
		err = errors.Join(err, l.Close())
	}
	return err
}

// stop kills the server: connections to it are refused.
func (s *server) stop() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		err = s.http.Close()
		s.wait.Wait()
		s.http = nil
	}
	return err
}

// fetch gets what a server says to a client, over HTTP.
func (l *lab) fetch(ctx context.Context, from string, address netip.Addr) (string, error) {
	dial := func(ctx context.Context, network, to string) (conn net.Conn, err error) {
		l.spaces[from].do(func() { conn, err = (&net.Dialer{Timeout: patience}).DialContext(ctx, network, to) })
		return conn, err
	}
	h := &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: patience}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+netip.AddrPortFrom(address, 80).String()+"/", nil)
	if err != nil {
		return "", err
	}
	resp, err := h.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	line := make([]byte, 100)
	n, err := resp.Body.Read(line)
	if n == 0 {
		return "", fmt.Errorf("%s says nothing: %w", address, err)
	}
	return string(line[:n]), nil
}
