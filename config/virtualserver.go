package config

import "net/netip"

// VirtualServer is what an answer may carry: the address, port and protocol
// that clients use.
type VirtualServer struct {
	Name      string       `yaml:"name" json:"name"`
	Address   netip.Addr   `yaml:"address" json:"-"`           // the short form of Addresses
	Addresses []netip.Addr `yaml:"addresses" json:"addresses"` // at most one a family; Load moves Address here
	Port      uint16       `yaml:"port" json:"port,omitempty"` // default target port of its probes
	Link      string       `yaml:"link" json:"link,omitempty"` // the link it is reached by; its row must be up
	Site      string       `yaml:"site" json:"site,omitempty"` // the site it stands in; its row must be up
	Probes    []string     `yaml:"probes" json:"probes,omitempty"`
	Criteria  Criteria     `yaml:"criteria" json:"criteria,omitzero"`
	Pos       Pos          `yaml:"-" json:"-"`
}

// Link is an ISP line. Here it owns the row link/NAME; metering and busy
// protection come with the link module.
type Link struct {
	Name     string     `yaml:"name" json:"name"`
	NextHop  netip.Addr `yaml:"nextHop" json:"nextHop,omitzero"` // target of its probes
	Source   netip.Addr `yaml:"source" json:"source,omitzero"`   // source address of its probes; default the kernel's choice
	Site     string     `yaml:"site" json:"site,omitempty"`
	Probes   []string   `yaml:"probes" json:"probes,omitempty"`
	Criteria Criteria   `yaml:"criteria" json:"criteria,omitzero"`
	Pos      Pos        `yaml:"-" json:"-"`
}

// Site is a data centre or point of presence. It owns the row site/NAME, which
// an operator can hold or drain as a whole. Its probes need a target of their
// own.
type Site struct {
	Name     string   `yaml:"name" json:"name"`
	Probes   []string `yaml:"probes" json:"probes,omitempty"`
	Criteria Criteria `yaml:"criteria" json:"criteria,omitzero"`
	Pos      Pos      `yaml:"-" json:"-"`
}
