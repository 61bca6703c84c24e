package nettest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// ServeFTP runs as much of an FTP server (RFC 959) as a transfer needs, on every
// address of a namespace. What it sends over a data connection is the address of
// the control connection's client, and that of the data connection's.
func ServeFTP(t testing.TB, s *Space) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var l net.Listener
	var err error
	s.Do(func() { l, err = net.Listen("tcp4", ":21") })
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				stop := context.AfterFunc(ctx, func() { _ = c.Close() })
				defer stop()
				_ = (&ftp{s: s, c: c}).serve() // it ends when the client has gone
			})
		}
	})
	t.Cleanup(func() { cancel(); _ = l.Close(); wg.Wait() })
}

// ftp is one control connection.
type ftp struct {
	s    *Space
	c    net.Conn
	data func() (net.Conn, error)
}

func (f *ftp) serve() error {
	in := bufio.NewScanner(f.c)
	say := func(format string, args ...any) error {
		_, err := fmt.Fprintf(f.c, format+"\r\n", args...)
		return err
	}
	err := say("220 ready")
	for err == nil && in.Scan() {
		word, rest, _ := strings.Cut(in.Text(), " ")
		switch word {
		case "USER":
			err = say("230 welcome")
		case "PASV":
			err = f.listen(say)
		case "PORT":
			f.data = func() (net.Conn, error) { return f.dial(rest) }
			err = say("200 so be it")
		case "RETR":
			err = errors.Join(say("150 here it comes"), f.send(), say("226 done"))
		default:
			err = say("500 what is %s?", word)
		}
	}
	return errors.Join(err, in.Err())
}

func (f *ftp) listen(say func(string, ...any) error) (err error) {
	here := f.c.LocalAddr().(*net.TCPAddr)
	var l net.Listener
	f.s.Do(func() { l, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: here.IP}) })
	if err != nil {
		return err
	}
	f.data = func() (net.Conn, error) {
		defer l.Close()
		return l.Accept()
	}
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return say("227 Entering Passive Mode (%s,%d,%d)", strings.ReplaceAll(here.IP.String(), ".", ","), port/256, port%256)
}

// dial connects to where PORT says, from port 20.
func (f *ftp) dial(where string) (c net.Conn, err error) {
	at, err := ftpAddress(where)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: Patience, LocalAddr: &net.TCPAddr{IP: f.c.LocalAddr().(*net.TCPAddr).IP}}
	f.s.Do(func() { c, err = d.Dial("tcp4", at.String()) })
	return c, err
}

func (f *ftp) send() error {
	if f.data == nil {
		return errors.New("neither PASV nor PORT came")
	}
	c, err := f.data()
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = fmt.Fprintf(c, "%s %s\n", f.c.RemoteAddr().(*net.TCPAddr).IP, c.RemoteAddr().(*net.TCPAddr).IP)
	return err
}

// ftpAddress reads h1,h2,h3,h4,p1,p2 of PORT and PASV.
func ftpAddress(text string) (netip.AddrPort, error) {
	found := regexp.MustCompile(`(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)`).FindStringSubmatch(text)
	if found == nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	var b [6]byte
	for i := range b {
		n, err := strconv.ParseUint(found[i+1], 10, 8)
		if err != nil {
			return netip.AddrPort{}, err
		}
		b[i] = byte(n)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), uint16(b[4])<<8|uint16(b[5])), nil
}

// Transfer gets a file, and gives the client's address as the server sees it on
// the control connection and on the data connection.
func Transfer(s *Space, from netip.Addr, to netip.AddrPort, passive bool) (control, data netip.Addr, err error) {
	d := net.Dialer{Timeout: Patience, LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
	var c, got net.Conn
	s.Do(func() { c, err = d.Dial("tcp4", to.String()) })
	if err != nil {
		return control, data, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(3 * Patience)); err != nil {
		return control, data, err
	}
	in := bufio.NewReader(c)
	ask := func(line, want string) (string, error) {
		if line != "" {
			if _, err := fmt.Fprintf(c, "%s\r\n", line); err != nil {
				return "", err
			}
		}
		answer, err := in.ReadString('\n')
		if err == nil && !strings.HasPrefix(answer, want) {
			err = fmt.Errorf("%s: %s", line, strings.TrimSpace(answer))
		}
		return answer, err
	}
	_, err = ask("", "220")
	if err == nil {
		_, err = ask("USER anonymous", "230")
	}
	if err != nil {
		return control, data, err
	}
	open := func() (net.Conn, error) { return got, nil }
	if passive {
		answer, err := ask("PASV", "227")
		if err != nil {
			return control, data, err
		}
		at, err := ftpAddress(answer)
		if err != nil {
			return control, data, err
		}
		if s.Do(func() { got, err = d.Dial("tcp4", at.String()) }); err != nil {
			return control, data, err
		}
	} else {
		var l net.Listener
		if s.Do(func() { l, err = net.ListenTCP("tcp4", &net.TCPAddr{IP: from.AsSlice()}) }); err != nil {
			return control, data, err
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		if _, err := ask(fmt.Sprintf("PORT %s,%d,%d", strings.ReplaceAll(from.String(), ".", ","), port/256, port%256), "200"); err != nil {
			return control, data, err
		}
		if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(Patience)); err != nil {
			return control, data, err
		}
		open = l.Accept
	}
	if _, err := ask("RETR file", "150"); err != nil {
		return control, data, err
	}
	if got, err = open(); err != nil {
		return control, data, err
	}
	defer got.Close()
	if err := got.SetDeadline(time.Now().Add(Patience)); err != nil {
		return control, data, err
	}
	var seen [2]string
	if _, err = fmt.Fscan(got, &seen[0], &seen[1]); err != nil {
		return control, data, err
	}
	control, err = netip.ParseAddr(seen[0])
	if err == nil {
		data, err = netip.ParseAddr(seen[1])
	}
	if err == nil && !passive { // who connects is the server: its partner is what it was told
		_, err = ask("", "226")
	}
	return control, data, err
}
