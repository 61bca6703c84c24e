package dnsproxy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// What Linux is told to leave alone is not explained as if it were taken.
func TestExplainWhatCrosses(t *testing.T) {
	w := newWorld(t, []*fake{newFake(t)}, func(m *config.Model) {
		m.DNSProxy.Exclude = []netip.Prefix{netip.MustParsePrefix("10.0.0.7/32")}
		m.DNSProxy.Addresses = []netip.Prefix{netip.MustParsePrefix("8.0.0.0/8")}
	})
	for _, c := range []struct{ client, asked, action, words string }{
		{"10.0.0.7", "8.8.8.8", "crosses", "exclude has 10.0.0.7, in 10.0.0.7/32: "},
		{"10.0.0.8", "9.9.9.9", "crosses", "addresses does not have 9.9.9.9: "},
		{"10.0.0.8", "8.8.8.8", "pool", "no policy matches"},
		{"10.0.0.8", "0.0.0.0", "pool", "no policy matches"}, // nobody in particular
	} {
		e, err := w.proxy.Explain(Ask{Client: netip.MustParseAddr(c.client), Asked: netip.MustParseAddr(c.asked), Name: "example.com", Type: dns.TypeA})
		if err != nil || e.Action != c.action || !strings.HasPrefix(e.Words, c.words) {
			t.Errorf("%s asks %s: %+v, %v", c.client, c.asked, e, err)
		}
	}
}
