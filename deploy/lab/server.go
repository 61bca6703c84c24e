package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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

// fetch gets what a server says to a client, over HTTP, by a connection of its
// own that is gone when it returns.
func (l *lab) fetch(ctx context.Context, from string, address netip.Addr) (said string, err error) {
	var conn net.Conn
	l.spaces[from].do(func() {
		conn, err = (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", netip.AddrPortFrom(address, 80).String())
	})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", address); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	line, err := io.ReadAll(io.LimitReader(resp.Body, 100))
	if len(line) == 0 {
		return "", fmt.Errorf("%s says nothing (%v)", address, err)
	}
	return string(line), nil
}
