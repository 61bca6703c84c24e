package api

import (
	"cmp"
	"math"
	"net/http"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// ServerReportRequest is what a virtual server, or who watches it, reports. It
// takes the place of the report before: what it does not tell is unknown.
type ServerReportRequest struct {
	Connections *int64           `json:"connections,omitempty"` // open now, 0 to 2000000000
	Latency     *config.Duration `json:"latency,omitempty"`     // until the first byte of an answer, "8ms", at most 1h
	For         *config.Duration `json:"for,omitempty"`         // the report counts so long, 1s to 1h (default 30s)
}

// ServerReport is a report that was checked.
type ServerReport struct {
	Connections *int64
	Latency     *time.Duration
	For         time.Duration
	By          string // who reports
}

// ServerReported is what became of a report.
type ServerReported struct {
	ID    status.ID `json:"id"`
	Until time.Time `json:"until"`         // when it becomes unknown, unless another report comes
	Full  bool      `json:"full"`          // it has reached its maxConnections
	Why   string    `json:"why,omitempty"` // the figures; empty without maxConnections
}

// RateReport is what a link carries, as who meters it says: rates, or how many
// octets there have been since some beginning. It takes the place of the report
// before.
type RateReport struct {
	Total    *config.Bandwidth `json:"total,omitempty"` // "100Mbps" (default in and out together)
	In       *config.Bandwidth `json:"in,omitempty"`    // received from the line
	Out      *config.Bandwidth `json:"out,omitempty"`   // sent into the line
	Counters *Octets           `json:"counters,omitempty"`
}

// Octets are counters. Rates are made of two reports, by the times at which they
// arrive.
type Octets struct {
	In   uint64 `json:"in"`   // octets received from the line
	Out  uint64 `json:"out"`  // octets sent into the line
	Bits int    `json:"bits"` // what both wrap at: 64 (the default), or 32
}

// RateReported is what became of a report.
type RateReported struct {
	ID     status.ID       `json:"id"`
	MaxAge config.Duration `json:"maxAge"` // then it is unknown, unless another report comes
}

// Bounds of what is reported.
const (
	mostConnections  = 2_000_000_000
	longestReport    = time.Hour
	defaultReportFor = 30 * time.Second
)

// Reporter takes reports.
type Reporter interface {
	// ReportServer takes what a virtual server reports. An unknown one is an
	// error of kind [NotFound].
	ReportServer(name string, r ServerReport) (ServerReported, error)
	// ReportRates takes the rates of a link that is metered by push; NaN is not
	// known.
	ReportRates(link string, rates busy.Rates) error
	// ReportOctets takes its counters.
	ReportOctets(link string, o Octets) error
}

func (s *Server) reportServer(r *http.Request) (any, error) {
	var req ServerReportRequest
	if err := decode(r, maxSmallBody, &req); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	v := s.view()
	if find(v.model.VirtualServers, func(c *config.VirtualServer) string { return c.Name }, name) == nil {
		return nil, v.noSuch("virtual server", name, v.names("virtualserver"))
	}
	report, err := req.check()
	if err != nil {
		return nil, err
	}
	report.By = who(r.Context())
	return s.opts.Reports.ReportServer(name, report)
}

func (v view) noSuch(what, name string, names []string) error {
	return Errorf(NotFound, "there is no %s %q%s", what, name, didYouMean(name, names))
}

func (req *ServerReportRequest) check() (r ServerReport, err error) {
	r = ServerReport{Connections: req.Connections, For: defaultReportFor}
	if req.For != nil {
		r.For = time.Duration(*req.For)
	}
	if req.Latency != nil {
		latency := time.Duration(*req.Latency)
		r.Latency = &latency
	}
	switch {
	case req.Connections == nil && req.Latency == nil:
		return r, Errorf(Invalid, "nothing is reported: say connections, latency, or both")
	case req.Connections != nil && (*req.Connections < 0 || *req.Connections > mostConnections):
		return r, Errorf(Invalid, "connections %d is not from 0 to %d", *req.Connections, mostConnections)
	case r.Latency != nil && *r.Latency > longestReport:
		return r, Errorf(Invalid, "latency %s is over %s", config.Duration(*r.Latency), config.Duration(longestReport))
	case r.For < time.Second || r.For > longestReport:
		return r, Errorf(Invalid, "for %s is not from 1s to %s", config.Duration(r.For), config.Duration(longestReport))
	}
	return r, nil
}

func (s *Server) reportRate(r *http.Request) (any, error) {
	var req RateReport
	if err := decode(r, maxSmallBody, &req); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	v := s.view()
	l := find(v.model.Links, func(c *config.Link) string { return c.Name }, name)
	switch {
	case l == nil:
		return nil, v.noSuch("link", name, v.names("link"))
	case l.Meter.From != config.MeterPush:
		by := cmp.Or(map[string]string{config.MeterInterface: "by its interface " + l.Interface, config.MeterSNMP: "by SNMP"}[l.Meter.From], "by nothing")
		return nil, Errorf(Conflict, "link %q is metered %s, so it takes no reports; configure meter: push", name, by)
	}
	if err := req.check(); err != nil {
		return nil, err
	}
	err := s.takeRates(name, &req)
	return RateReported{status.MakeID(status.KindLink, name), l.Meter.MaxAge}, err
}

// check refuses what cannot be meant.
func (req *RateReport) check() error {
	rates := req.Total != nil || req.In != nil || req.Out != nil
	switch o := req.Counters; {
	case rates == (o != nil):
		return Errorf(Invalid, "say rates (in, out, total) such as 80Mbps, or counters, one of both")
	case o != nil && o.Bits != 0 && o.Bits != 32 && o.Bits != 64:
		return Errorf(Invalid, "counters.bits %d is not 32 or 64", o.Bits)
	case o != nil && o.Bits == 32 && max(o.In, o.Out) > math.MaxUint32:
		return Errorf(Invalid, "a counter of %d octets does not fit in 32 bits", max(o.In, o.Out))
	case req.Total != nil && *req.Total < max(value(req.In), value(req.Out)):
		return Errorf(Invalid, "total %s is less than one direction of it", *req.Total)
	}
	return nil
}

func value(b *config.Bandwidth) config.Bandwidth {
	if b == nil {
		return 0
	}
	return *b
}

func (s *Server) takeRates(name string, req *RateReport) error {
	if o := req.Counters; o != nil {
		o.Bits = cmp.Or(o.Bits, 64)
		return s.opts.Reports.ReportOctets(name, *o)
	}
	var rates busy.Rates
	for d, b := range map[busy.Direction]*config.Bandwidth{busy.Total: req.Total, busy.In: req.In, busy.Out: req.Out} {
		if rates[d] = math.NaN(); b != nil {
			rates[d] = float64(*b)
		}
	}
	return s.opts.Reports.ReportRates(name, rates)
}
