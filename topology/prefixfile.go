package topology

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/portolan-lb/portolan/config"
)

const (
	maxPrefixFile   = 512 << 20 // bytes after decompression: several times the Internet's routes
	maxPrefixErrors = 50        // reported one by one; a wrong file has as many as lines
)

// prefixLine is a line of a prefix file.
type prefixLine struct {
	prefix netip.Prefix
	asn    uint32 // 0 when the line carries none
}

// prefixFile is a prefix file, read once however many ISPs refer to it.
type prefixFile struct {
	lines []prefixLine
	asns  map[uint32]int // how many lines an AS number has
}

// readPrefixFile reads a prefix list, gzipped or not. Every bad line is
// reported with its place.
func readPrefixFile(src config.Source, ref string) (*prefixFile, config.Errors) {
	shown := src.Show(ref)
	data, err := src.ReadFile(ref)
	if err != nil {
		return nil, fileError(shown, "reading prefix file: %v", err)
	}
	return parsePrefixFile(shown, data)
}

// parsePrefixFile parses one prefix a line, or tab-separated AS number, name
// and prefix. A # starts a comment; empty lines do not count.
func parsePrefixFile(shown string, data []byte) (*prefixFile, config.Errors) {
	text, err := gunzip(data)
	if err != nil {
		return nil, fileError(shown, "reading prefix file: %v", err)
	}
	p := &prefixFile{asns: map[uint32]int{}}
	var errs config.Errors
	bad := 0
	scan := bufio.NewScanner(bytes.NewReader(text))
	scan.Buffer(nil, 1<<20)
	for n := 1; scan.Scan(); n++ {
		if err := p.addLine(scan.Text()); err != nil {
			if bad++; bad <= maxPrefixErrors {
				errs = append(errs, &config.Error{Pos: config.Pos{File: shown, Line: n}, Text: err.Error()})
			}
		}
	}
	switch {
	case scan.Err() != nil:
		errs = append(errs, fileError(shown, "reading prefix file: %v", scan.Err())...)
	case bad > maxPrefixErrors:
		errs = append(errs, fileError(shown, "%d more lines are wrong", bad-maxPrefixErrors)...)
	case bad == 0 && len(p.lines) == 0:
		errs = fileError(shown, "prefix file holds no prefix")
	}
	return p, errs
}

// gunzip gives data itself unless it starts like a gzip file.
func gunzip(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(z, maxPrefixFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxPrefixFile {
		return nil, fmt.Errorf("more than %d MiB when decompressed", maxPrefixFile>>20)
	}
	return text, nil
}

func (p *prefixFile) addLine(text string) error {
	text, _, _ = strings.Cut(text, "#")
	if text = strings.TrimSpace(text); text == "" {
		return nil
	}
	var line prefixLine
	var err error
	if strings.Contains(text, "\t") {
		fields := strings.Split(text, "\t")
		if len(fields) != 3 {
			return fmt.Errorf("line has %d tab-separated fields, want AS number, name and prefix", len(fields))
		}
		if line.asn, err = parseASN(strings.TrimSpace(fields[0])); err != nil {
			return err
		}
		text = strings.TrimSpace(fields[2])
	}
	if line.prefix, err = parsePrefix(text); err != nil {
		return err
	}
	p.lines = append(p.lines, line)
	if line.asn != 0 {
		p.asns[line.asn]++
	}
	return nil
}

// parseASN reads "4134" or "AS4134".
func parseASN(text string) (uint32, error) {
	digits := text
	if len(text) > 2 && strings.EqualFold(text[:2], "AS") {
		digits = text[2:]
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("bad AS number %.60q: want 1 to 4294967295", text)
	}
	return uint32(n), nil
}

// parsePrefix refuses what could match other clients than its writer meant.
func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		if a, aerr := netip.ParseAddr(text); aerr == nil {
			return p, fmt.Errorf("bad prefix %.60q: it has no length, write %s/%d", text, a.WithZone(""), a.BitLen())
		}
		return p, fmt.Errorf("bad prefix %.60q: want an address, a slash and a length", text)
	}
	return p, checkPrefix(p)
}

// checkPrefix refuses host bits, and IPv4 written as IPv6, which no client's
// unmapped address would match.
func checkPrefix(p netip.Prefix) error {
	switch {
	case !p.IsValid():
		return errors.New("bad prefix: the length does not fit the address")
	case p.Addr().Is4In6():
		return fmt.Errorf("prefix %s is IPv4 written as IPv6: write the IPv4 prefix", p)
	case p != p.Masked():
		return fmt.Errorf("prefix %s has host bits set: did you mean %s?", p, p.Masked())
	}
	return nil
}

// fileError is one error about a whole file.
func fileError(shown, format string, args ...any) config.Errors {
	return config.Errors{{Pos: config.Pos{File: shown}, Text: fmt.Sprintf(format, args...)}}
}
