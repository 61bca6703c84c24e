package api_test

import (
	"context"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/flow"
)

// flows answers with the question.
type flows struct{}

func (flows) ExplainFlow(_ context.Context, q flow.Question) (*flow.Explanation, error) {
	return &flow.Explanation{Question: q, Ways: []flow.Way{{Percent: 100, Link: "telecom"}}}, nil
}

func TestExplainFlow(t *testing.T) {
	o := newDaemon().options()
	o.Flows = flows{}
	with, without := api.New(o).Handler(), api.New(newDaemon().options()).Handler()
	const path = "/v1/explain/flow?from=10.0.0.5&to=8.8.8.8:443/udp&in=lan0"
	if w := ask(with, "GET", path, "", nil); w.Code != 200 ||
		!strings.Contains(w.Body.String(), `{"question":{"from":"10.0.0.5:49152","to":"8.8.8.8:443","protocol":17,"in":"lan0","assumed":true}`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{path, 404, `"kind":"not-found","error":"this node balances no connections: the configuration has no outbound"`},
		{"/v1/explain/flow?from=10.0.0.5&to=x", 400, `"kind":"invalid","error":"to \"x\": not an address`},
		{"/v1/explain/flow", 400, `"kind":"invalid"`},
	} {
		if w := ask(without, "GET", c.path, "", nil); w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
	}
}
