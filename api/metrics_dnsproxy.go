package api

import (
	"github.com/portolan-lb/portolan/status"
)

// The labels are what the configuration names, and the fixed words of failures:
// nothing that a client or a server says.
var (
	proxyListening = gauge("dns_proxy_listening", "1 if the DNS proxy takes queries, 0 if they cross as they are though it is configured.")
	proxyQueries   = counter("dns_proxy_queries_total", "Queries that were brought to the DNS proxy, by transport.", "proto")
	proxyReplies   = counter("dns_proxy_replies_total", "Its replies by response code.", "rcode")
	proxyDropped   = counter("dns_proxy_dropped_total", "Queries that got no reply, by reason.", "reason")
	proxyHits      = counter("dns_proxy_cache_hits_total", "Replies out of its cache: fresh, or stale while no DNS server answered.", "kind")
	proxyCache     = gauge("dns_proxy_cache_bytes", "What its cache holds.")
	proxyShared    = counter("dns_proxy_shared_total", "Queries that waited for the same question of somebody else.")
	proxyRetries   = counter("dns_proxy_retries_total", "Further DNS servers that were asked after one had failed.")
	proxyFailed    = counter("dns_proxy_failed_total", "Queries that no DNS server answered.")
	proxyWaiting   = gauge("dns_proxy_outstanding", "Queries that wait for a DNS server.")
	proxyPolicies  = counter("dns_proxy_policy_queries_total", "Queries by the policy that took them; default: none did.", "policy")

	dnsServerUp      = gauge("dns_server_up", "1 if a DNS server is up, 0 if it is down; none while that is not known.", "server")
	dnsServerHas     = gauge("dns_server_addresses", "Addresses that a DNS server has; 0: those it was given were withdrawn.", "server")
	dnsServerQueries = counter("dns_server_queries_total", "Queries that were sent to a DNS server.", "server", "link")
	dnsServerAnswers = counter("dns_server_answers_total", "Good answers of a DNS server.", "server", "link")
	dnsServerFailed  = counter("dns_server_failures_total", "Queries that a DNS server did not answer well, by reason.", "server", "link", "reason")
	dnsServerIgnored = counter("dns_server_ignored_total", "Messages that were no answer to what was asked, or hostile, by reason.", "server", "link", "reason")
	dnsServerLatency = gauge("dns_server_latency_seconds", "Time to an answer of a DNS server, smoothed.", "server", "link")

	dnsProxyFamilies = []metric{
		proxyListening, proxyQueries, proxyReplies, proxyDropped, proxyHits, proxyCache, proxyShared, proxyRetries, proxyFailed, proxyWaiting, proxyPolicies,
		dnsServerUp, dnsServerHas, dnsServerQueries, dnsServerAnswers, dnsServerFailed, dnsServerIgnored, dnsServerLatency,
	}
)

func (v view) collectDNSProxy(emit emitter) {
	if v.opts.DNSProxy == nil || !v.model.ProxiesDNS() {
		return
	}
	s := v.opts.DNSProxy.Stats()
	emit.put(proxyListening, one(v.opts.DNSProxy.Listening().Port != 0))
	emit.put(proxyQueries, float64(s.UDP), "udp")
	emit.put(proxyQueries, float64(s.TCP), "tcp")
	for rcode, n := range s.Replies {
		emit.put(proxyReplies, float64(n), rcode)
	}
	for reason, n := range s.Dropped {
		emit.put(proxyDropped, float64(n), reason)
	}
	emit.put(proxyHits, float64(s.Hits-s.Stale), "fresh")
	emit.put(proxyHits, float64(s.Stale), "stale")
	emit.put(proxyCache, float64(s.Cache.Bytes))
	emit.put(proxyShared, float64(s.Shared))
	emit.put(proxyRetries, float64(s.Retries))
	emit.put(proxyFailed, float64(s.Failed))
	emit.put(proxyWaiting, float64(s.Outstanding))
	policies := map[string]uint64{} // a policy may be called default
	for _, p := range s.Policies {
		policies[p.Name] += p.Queries
	}
	for name, n := range policies {
		emit.put(proxyPolicies, float64(n), name)
	}
	v.collectDNSServers(emit)
}

func (v view) collectDNSServers(emit emitter) {
	stats := v.dnsServerStats()
	for _, c := range v.model.DNSServers {
		d := v.dnsServer(c, nil, stats)
		if d.Row.Health != status.Unknown {
			emit.put(dnsServerUp, one(d.Row.Health == status.Up), d.Name)
		}
		emit.put(dnsServerHas, float64(len(d.Has)), d.Name)
		if d.Stats == nil {
			continue // a reload came between
		}
		emit.put(dnsServerQueries, float64(d.Stats.Queries), d.Name, d.Link)
		emit.put(dnsServerAnswers, float64(d.Stats.Answers), d.Name, d.Link)
		for reason, n := range d.Stats.Failures {
			emit.put(dnsServerFailed, float64(n), d.Name, d.Link, reason)
		}
		for reason, n := range d.Stats.Ignored {
			emit.put(dnsServerIgnored, float64(n), d.Name, d.Link, reason)
		}
		if d.Stats.Latency > 0 {
			emit.put(dnsServerLatency, d.Stats.Latency.Seconds(), d.Name, d.Link)
		}
	}
}
