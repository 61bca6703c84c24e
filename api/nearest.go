package api

import (
	"fmt"
	"strings"

	"github.com/portolan-lb/portolan/config"
)

// Nearest gives the word that somebody may have meant, or "" if none is near:
// within one change for each three letters, and two at most.
func Nearest(word string, words []string) string {
	if len(word) > maxName {
		return ""
	}
	best, near := "", min(len(word)/3, 2)+1
	for _, w := range words {
		// Ties go to the first in the alphabet, so that the hint is stable.
		if d := distance(strings.ToLower(word), strings.ToLower(w), near); d < near || d == near && best != "" && w < best {
			best, near = w, d
		}
	}
	return best
}

// distance counts the letters to change, add, drop or swap with the next from a
// to b; anything over bound is more than bound.
func distance(a, b string, bound int) int {
	if len(a)-len(b) > bound || len(b)-len(a) > bound {
		return bound + 1
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range b {
		rows[0][j+1] = j + 1
	}
	for i := range a {
		for j := range b {
			change := rows[i][j]
			if a[i] != b[j] {
				change++
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				change = min(change, rows[i-1][j-1]+1)
			}
			rows[i+1][j+1] = min(change, rows[i][j+1]+1, rows[i+1][j]+1)
		}
	}
	return rows[len(a)][len(b)]
}

// didYouMean is the end of an error about a name that does not exist; it may
// be empty.
func didYouMean(name string, names []string) string {
	if like := Nearest(name, names); like != "" {
		return fmt.Sprintf("; did you mean %q?", like)
	}
	return ""
}

// names gives the names of everything of a kind, as describe takes them.
func (v view) names(kind string) []string {
	switch strings.TrimSuffix(strings.ToLower(kind), "s") {
	case "pool":
		return list(v.model.Pools, func(c *config.Pool) string { return c.Name })
	case "member":
		var all []string
		for _, p := range v.model.Pools {
			all = append(all, list(p.Members, func(c *config.Member) string { return p.Name + "/" + c.Target() })...)
		}
		return all
	case "virtualserver":
		return list(v.model.VirtualServers, func(c *config.VirtualServer) string { return c.Name })
	case "link":
		return list(v.model.Links, func(c *config.Link) string { return c.Name })
	case "site":
		return list(v.model.Sites, func(c *config.Site) string { return c.Name })
	case "probe":
		return list(v.model.Probes, func(c *config.Probe) string { return c.Name })
	case "zone":
		return v.zoneNames()
	case "dnsserver":
		return list(v.model.DNSServers, func(c *config.DNSServer) string { return c.Name })
	case "linkgroup":
		return list(v.model.LinkGroups, func(c *config.LinkGroup) string { return c.Name })
	case "serverfarm":
		return list(v.model.ServerFarms, func(c *config.ServerFarm) string { return c.Name })
	case "realserver":
		var all []string
		for _, f := range v.model.ServerFarms {
			all = append(all, list(f.Servers, func(c *config.RealServer) string { return f.Name + "/" + c.Name })...)
		}
		return all
	case "snatpool":
		return list(v.model.SNATPools, func(c *config.SNATPool) string { return c.Name })
	}
	return nil
}
