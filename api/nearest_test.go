package api_test

import (
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/api"
)

func TestNearest(t *testing.T) {
	words := []string{"pools", "probes", "web-east", "web-west", "isp1", "isp2"}
	for word, want := range map[string]string{
		"pool": "pools", "PROBS": "probes", "web-eas": "web-east", "web-est": "web-east", "web-eats": "web-east", "wb-west": "web-west",
		"isp": "isp1", "is": "", "": "", "nothing": "", strings.Repeat("x", 1<<20): "",
	} {
		if got := api.Nearest(word, words); got != want {
			t.Errorf("%.20q: %q, want %q", word, got, want)
		}
	}
}
