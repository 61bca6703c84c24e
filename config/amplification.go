package config

// Amplification bounds how much larger than the query a reply over UDP may be,
// for clients without a valid cookie. What is larger is answered TC: ask over
// TCP.
type Amplification struct {
	Limit  int `yaml:"limit" json:"limit"`   // replies are at most so many times the query, both without IP and UDP headers, 1 to 100; 0: no bound (default 0)
	Exempt int `yaml:"exempt" json:"exempt"` // replies of so many bytes are sent however short the query is, 512 to 1232 (default 512)
}

func (a *Amplification) defaults() { *a = Amplification{Exempt: 512} }

func (a *Amplification) check(c *checker) {
	between(c, &a.Limit, 0, 100)
	between(c, &a.Exempt, 512, 1232)
	if a.Limit == 0 && c.given(&a.Exempt) {
		c.warn(&a.Exempt, "does nothing without a limit")
	}
}
