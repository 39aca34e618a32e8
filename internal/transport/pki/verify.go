package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Peer is the other end of a connection, as its certificate proves.
type Peer struct {
	Identity
	Serial  string // of the certificate
	Expired bool   // it may only renew
	Expires time.Time
}

// VerifyPeer checks the certificate that a peer showed: of this CA, for this role, not before its time. An expired
// certificate is no error here but noted in Peer: what it may still do is for the caller to decide.
func VerifyPeer(ca *x509.Certificate, shown []*x509.Certificate, role Role, now time.Time) (Peer, error) {
	if len(shown) == 0 {
		return Peer{}, errors.New("no certificate was shown")
	}
	leaf := shown[0]
	usage := x509.ExtKeyUsageClientAuth
	if role == RoleServer {
		usage = x509.ExtKeyUsageServerAuth
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	expired := now.After(leaf.NotAfter)
	at := now
	if expired {
		at = leaf.NotAfter
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		return Peer{}, fmt.Errorf("the certificate is not good here: %w", err)
	}
	id, err := IdentityOf(leaf)
	if err != nil {
		return Peer{}, err
	}
	if id.Role != role {
		return Peer{}, WrongRole(id, role)
	}
	return Peer{Identity: id, Serial: Serial(leaf), Expired: expired, Expires: leaf.NotAfter}, nil
}

// VerifyAny is VerifyPeer for the role that the certificate itself names.
func VerifyAny(ca *x509.Certificate, shown []*x509.Certificate, now time.Time) (Peer, error) {
	role := RoleAgent
	if len(shown) > 0 {
		if id, err := IdentityOf(shown[0]); err == nil {
			role = id.Role
		}
	}
	return VerifyPeer(ca, shown, role, now)
}

// WrongRole says that a certificate is good, but not for this.
func WrongRole(id Identity, wanted Role) error {
	return fmt.Errorf("the certificate is of the %s %s, the role wanted is %s", id.Role, id.Name, wanted)
}

// ServerTLS is for a server's agent port. Clients' certificates are taken but not judged: the caller does that for each
// call (VerifyPeer), because a joining agent has none, an expired one may renew, and a refusal in words is worth more
// than a TLS alert.
func ServerTLS(current func() (*Credentials, error)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := current()
			if err != nil {
				return nil, err
			}
			return &c.Certificate, nil
		},
		// A ticket would carry on with the certificate of the first handshake, after a renewal too.
		SessionTicketsDisabled: true,
	}
}

// AgentTLS is for an agent's connections. The server must prove that it is a server of this CA; by which name or
// address it was reached doesn't matter, for the CA signs servers for nobody else.
func AgentTLS(current func() *Credentials, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // replaced by VerifyConnection, which checks more
		VerifyConnection: func(cs tls.ConnectionState) error {
			return verifyServer(current().CA, cs.PeerCertificates, now())
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &current().Certificate, nil
		},
	}
}

// JoinTLS is for the first contact: the server must show the CA that the token names, and be a server of it.
func JoinTLS(t Token, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, // replaced by VerifyConnection
		VerifyConnection: func(cs tls.ConnectionState) error {
			for _, cert := range cs.PeerCertificates {
				if fingerprint(cert.Raw) == t.CA && cert.IsCA {
					return verifyServer(cert, cs.PeerCertificates, now())
				}
			}
			return errors.New("the server is not of the cluster that made this token: its CA has another fingerprint")
		},
	}
}

func verifyServer(ca *x509.Certificate, shown []*x509.Certificate, now time.Time) error {
	p, err := VerifyPeer(ca, shown, RoleServer, now)
	if err != nil {
		return fmt.Errorf("the server is not to be trusted: %w", err)
	}
	if p.Expired {
		return fmt.Errorf("the server is not to be trusted: its certificate expired at %s", p.Expires.Format(time.RFC3339))
	}
	return nil
}
