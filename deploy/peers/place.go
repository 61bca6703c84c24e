package peers

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// FreePort gives a loopback port that is free for UDP and TCP now.
func FreePort() (netip.AddrPort, error) {
	for range 100 {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return netip.AddrPort{}, err
		}
		addr := l.Addr().(*net.TCPAddr).AddrPort()
		u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		_ = l.Close()
		if err == nil {
			return addr, u.Close()
		}
	}
	return netip.AddrPort{}, errors.New("no loopback port is free for both UDP and TCP")
}

// WriteFiles writes files, by name relative to a folder; folders are made if
// need be.
func WriteFiles(dir string, files map[string]string) error {
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// InTemp runs f with a folder that is removed afterwards.
func InTemp(pattern string, f func(dir string) error) (err error) {
	dir, err := os.MkdirTemp("", pattern)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return f(dir)
}

// FirstLine runs a program for its version: the first line that has one.
func FirstLine(program string, args ...string) string {
	out, _ := exec.Command(program, args...).CombinedOutput() // gdnsd fails, and tells
	for line := range strings.Lines(string(out)) {
		if strings.Contains(strings.ToLower(line), "version") || strings.ContainsAny(line, "0123456789") {
			return strings.TrimSpace(line)
		}
	}
	return "version unknown"
}
