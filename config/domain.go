package config

import (
	"errors"
	"fmt"
	"strings"
)

// canonical gives a domain name in lower case and fully qualified. It checks
// what an operator can get wrong: labels of 1 to 63 letters, digits, -, _ and
// / (which zones of less than a /24 have, RFC 2317 4); 255 octets on the wire (RFC 1035 2.3.4); a wildcard only as the whole
// leftmost label (RFC 4592 2.1.1).
func canonical(name string) (string, error) {
	name = strings.ToLower(name)
	if name == "." {
		return name, nil
	}
	name = strings.TrimSuffix(name, ".")
	if len(name) > 253 {
		return "", errors.New("is longer than the 255 octets of a domain name")
	}
	for i, label := range strings.Split(name, ".") {
		switch {
		case label == "":
			return "", errors.New("has an empty label")
		case len(label) > 63:
			return "", fmt.Errorf("has a label longer than 63 octets, %s", quote(label))
		case label == "*" && i == 0:
		case strings.Contains(label, "*"):
			return "", errors.New("has a * that is not its whole leftmost label")
		case strings.IndexFunc(label, outsideLabel) >= 0:
			return "", fmt.Errorf("has a label that is not letters, digits, - and _: %s (write other scripts as xn--...)", quote(label))
		}
	}
	return name + ".", nil
}

func outsideLabel(r rune) bool {
	return !('a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' || r == '_' || r == '/')
}

// under says whether a canonical name is zone or below it.
func under(name, zone string) bool {
	return zone == "." || name == zone || strings.HasSuffix(name, "."+zone)
}

// hostName makes the name of a field canonical, or complains. No wildcards, and
// no / either: it would be the path of a URL.
func (c *checker) hostName(field *string) bool {
	if strings.Contains(*field, "/") {
		c.bad(field, "%s has a /; a host name belongs here", quote(*field))
		return false
	}
	return c.domainName(field)
}

// domainName is hostName with the / of RFC 2317.
func (c *checker) domainName(field *string) bool {
	if *field == "" {
		c.empty(field, 0)
		return false
	}
	name, err := canonical(*field)
	switch {
	case err != nil:
		c.bad(field, "%s %s", quote(*field), err)
		return false
	case strings.HasPrefix(name, "*"):
		c.bad(field, "%s is a wildcard; a host name belongs here", quote(*field))
		return false
	}
	*field = name
	return true
}
