package config

// Chaos is what the server says of itself in class CH (RFC 4892), to whoever
// asks. By default it says nothing.
type Chaos struct {
	Version  string `yaml:"version" json:"version,omitempty"`   // TXT of version.bind and version.server, at most 255 bytes; default REFUSED
	Identity string `yaml:"identity" json:"identity,omitempty"` // TXT of id.server and hostname.bind, at most 255 bytes; default REFUSED
}

func (k *Chaos) check(c *checker) {
	for _, text := range []*string{&k.Version, &k.Identity} {
		c.empty(text, len(*text))
		if len(*text) > 255 {
			c.bad(text, "is longer than 255 bytes, which is all that one string of a TXT record holds")
		}
	}
}
