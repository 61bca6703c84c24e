package api

import (
	"context"
	"net/http"

	"github.com/portolan-lb/portolan/flow"
)

// FlowExplainer says what becomes of a connection through this machine. Errors
// of the question are of kind [Invalid].
type FlowExplainer interface {
	ExplainFlow(ctx context.Context, q flow.Question) (*flow.Explanation, error)
}

// ParseFlow reads a connection as people and requests write it, see
// [flow.Parse], so that one that is asked offline means the same. Errors are of
// kind [Invalid].
func ParseFlow(from, to, in string) (flow.Question, error) {
	q, err := flow.Parse(from, to, in)
	if err != nil {
		return q, Errorf(Invalid, "%v", err)
	}
	return q, nil
}

func (s *Server) explainFlow(r *http.Request) (any, error) {
	v := r.URL.Query()
	q, err := ParseFlow(v.Get("from"), v.Get("to"), v.Get("in"))
	if err != nil {
		return nil, err
	}
	if s.opts.Flows == nil {
		return nil, Errorf(NotFound, "this node balances no connections: the configuration has no outbound")
	}
	return s.opts.Flows.ExplainFlow(r.Context(), q)
}
