package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"
)

// probeTLS makes a TLS handshake and verifies the certificate, unless the
// probe is insecure. The evidence tells the days to its expiry.
func probeTLS(ctx context.Context, t *Task) Result {
	conf, err := t.tlsConfig()
	if err != nil {
		return t.failed(err)
	}
	start := time.Now()
	raw, hangUp, err := t.dial(ctx, "tcp")
	if err != nil {
		return t.failed(err)
	}
	defer hangUp()
	conn := tls.Client(raw, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		return t.failed(err)
	}
	state := conn.ConnectionState()
	return t.talk(conn, fmt.Sprintf("%s in %s, %s", tls.VersionName(state.Version),
		took(time.Since(start)), expiry(state.PeerCertificates[0], time.Now())))
}

// tlsConfig is made anew for each probe, so that a renewed caFile counts at
// once. The server name is the probe's host, else the address itself.
func (t *Task) tlsConfig() (*tls.Config, error) {
	conf := &tls.Config{ServerName: t.Target.Addr().String(), InsecureSkipVerify: t.Probe.Insecure}
	if name := t.Probe.Host; name != "" {
		if host, _, err := net.SplitHostPort(name); err == nil {
			name = host
		}
		conf.ServerName = name
	}
	if t.Probe.CAFile == "" {
		return conf, nil
	}
	pem, err := t.readFile(t.Probe.CAFile)
	if err != nil {
		return nil, voidError(fmt.Sprintf("caFile: %s", err))
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(pem) {
		return nil, voidError(fmt.Sprintf("caFile %s holds no certificate", t.Probe.CAFile))
	}
	return conf, nil
}

// expiry tells how long a certificate is still good, in whole days.
func expiry(cert *x509.Certificate, now time.Time) string {
	const day = 24 * time.Hour
	left := cert.NotAfter.Sub(now)
	if left < 0 {
		return fmt.Sprintf("certificate expired %d days ago", -left/day)
	}
	return fmt.Sprintf("certificate expires in %d days", left/day)
}

// tlsTrouble finds the words for what TLS did not like.
func tlsTrouble(err error) (string, bool) {
	var verify *tls.CertificateVerificationError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &verify):
		return "certificate not accepted: " + verify.Err.Error(), true
	case errors.As(err, &alert):
		return "TLS alert: " + alert.Error(), true
	case errors.As(err, &record):
		return "not TLS: " + record.Msg, true
	}
	return "", false
}
