// Package pki is the built-in certificate authority of a cluster: it makes the CA, signs servers and agents, and knows
// one-time tokens.
//
// One CA signs for two roles, told apart by the URI in the certificate (Identity) and by its common name
// (ServerCommonName): whoever lets servers in must check one of the two, for agents' certificates are of the same CA.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"
)

const (
	// ServerCommonName is the common name of every server's certificate and of no agent's. For the peer traffic of
	// libraries that can check nothing else (etcd's AllowedCN).
	ServerCommonName = "ninelives-server"
	// AgentCommonName is the common name of every agent's certificate.
	AgentCommonName = "ninelives-agent"

	caLife = 20 * 365 * 24 * time.Hour
	// Certificates live a year, give or take 30 days, so that hosts that joined on one day don't all renew on one day.
	leafLife   = 365 * 24 * time.Hour
	leafSpread = 30 * 24 * time.Hour
	// backdate forgives a verifier whose clock is behind.
	backdate = time.Hour
)

// CA signs the certificates of one cluster. Safe for concurrent use.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewInMemory makes a CA that is stored nowhere, for demos and tests.
func NewInMemory(cluster string, now time.Time) (*CA, error) {
	if err := ValidName(cluster); err != nil {
		return nil, fmt.Errorf("cannot make a CA: cluster: %w", err)
	}
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("cannot make a CA: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: "ninelives-ca", Organization: []string{cluster}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("cannot make a CA: %w", err)
	}
	return newCA(der, key)
}

// newCA checks that key and certificate belong together and are a CA of ours.
func newCA(der []byte, key *ecdsa.PrivateKey) (*CA, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cannot read the CA's certificate: %w", err)
	}
	if !cert.IsCA || len(cert.Subject.Organization) != 1 {
		return nil, fmt.Errorf("the certificate of %q is not a CA of ninelives", cert.Subject.CommonName)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the CA's key and certificate don't belong together")
	}
	return &CA{cert: cert, key: key}, nil
}

// Cluster is the cluster's name.
func (ca *CA) Cluster() string { return ca.cert.Subject.Organization[0] }

// Certificate is the CA's own.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// Fingerprint is the SHA-256 of the CA's certificate, hex.
func (ca *CA) Fingerprint() string { return fingerprint(ca.cert.Raw) }

// IssueServer makes a key and certificate for a server; sans are its IP addresses and DNS names, for clients that check
// them (agents don't: they check the role, so that a server may be reached through any address).
func (ca *CA) IssueServer(name string, sans []string, now time.Time) (*Credentials, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: ServerCommonName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, san := range sans {
		if ip := net.ParseIP(san); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if err := ValidName(san); err != nil {
			return nil, fmt.Errorf("cannot issue a certificate for server %s: %w", name, err)
		} else {
			template.DNSNames = append(template.DNSNames, san)
		}
	}
	return ca.issue(template, Identity{Role: RoleServer, Name: name}, now)
}

// IssueAgent makes a key and certificate for an agent here, for demos and tests: an agent that joins makes its own key.
func (ca *CA) IssueAgent(host string, m Machine, now time.Time) (*Credentials, error) {
	return ca.issue(agentTemplate(), Identity{Role: RoleAgent, Name: host, Machine: m.Normal()}, now)
}

// SignAgent signs an agent's certificate request (PKCS #10, DER). Only the public key is taken from the request, and
// the proof that the sender has its private half.
func (ca *CA) SignAgent(csr []byte, host string, m Machine, now time.Time) (*x509.Certificate, error) {
	key, err := requestKey(csr)
	if err != nil {
		return nil, fmt.Errorf("cannot sign a certificate for %s: %w", host, err)
	}
	return ca.sign(agentTemplate(), Identity{Role: RoleAgent, Name: host, Machine: m.Normal()}, key, now)
}

func agentTemplate() *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: AgentCommonName},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func (ca *CA) issue(template *x509.Certificate, id Identity, now time.Time) (*Credentials, error) {
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("cannot make a key for %s: %w", id.Name, err)
	}
	leaf, err := ca.sign(template, id, &key.PublicKey, now)
	if err != nil {
		return nil, err
	}
	return newCredentials(leaf, key, ca.cert)
}

func (ca *CA) sign(template *x509.Certificate, id Identity, key *ecdsa.PublicKey, now time.Time) (*x509.Certificate, error) {
	if err := ValidName(id.Name); err != nil {
		return nil, fmt.Errorf("cannot issue a certificate: %w", err)
	}
	template.SerialNumber = newSerial()
	template.URIs = []*url.URL{id.uri()}
	template.NotBefore = now.Add(-backdate)
	template.NotAfter = now.Add(leafLife + spread())
	if template.NotAfter.After(ca.cert.NotAfter) {
		template.NotAfter = ca.cert.NotAfter
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key, ca.key)
	if err != nil {
		return nil, fmt.Errorf("cannot sign the certificate of %s: %w", id.Name, err)
	}
	return x509.ParseCertificate(der)
}

// requestKey is the public key of a request, whose signature it checks.
func requestKey(csr []byte) (*ecdsa.PublicKey, error) {
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("the certificate request is damaged: %w", err)
	}
	key, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the certificate request has a key that is not ECDSA P-256")
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the certificate request isn't signed by its key: %w", err)
	}
	return key, nil
}

// RequestKeyID is the SHA-256 of a request's public key, hex.
func RequestKeyID(csr []byte) (string, error) {
	key, err := requestKey(csr)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("cannot write the request's key: %w", err)
	}
	return fingerprint(der), nil
}

// NewRequest makes a certificate request (DER) with a key.
func NewRequest(key *ecdsa.PrivateKey) ([]byte, error) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate request: %w", err)
	}
	return csr, nil
}

// NewKey makes a key of the kind that SignAgent signs.
func NewKey() (*ecdsa.PrivateKey, error) { return newKey() }

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// newSerial is 127 random bits: positive and never the same twice.
func newSerial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (Go 1.24 on)
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}

func spread() time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(2*leafSpread)))
	if err != nil {
		return 0 // the spread is a courtesy
	}
	return time.Duration(n.Int64()) - leafSpread
}

// Serial is a certificate's serial number as it is written everywhere: hex.
func Serial(cert *x509.Certificate) string { return cert.SerialNumber.Text(16) }

func fingerprint(der []byte) string {
	h := sha256.Sum256(der)
	return hex.EncodeToString(h[:])
}

// Credentials is what one party needs to speak: key, certificate, CA. Immutable.
type Credentials struct {
	Certificate tls.Certificate // leaf and CA, so that a joining agent can find the CA by its fingerprint
	Leaf        *x509.Certificate
	CA          *x509.Certificate
	Identity    Identity
}

// NewCredentials puts together what Join or Renew answered (leaf and CA in DER) and the key it was asked with. It
// checks that they belong together.
func NewCredentials(leaf, ca []byte, key *ecdsa.PrivateKey) (*Credentials, error) {
	leafCert, err := x509.ParseCertificate(leaf)
	if err != nil {
		return nil, fmt.Errorf("cannot read the certificate: %w", err)
	}
	caCert, err := x509.ParseCertificate(ca)
	if err != nil {
		return nil, fmt.Errorf("cannot read the CA's certificate: %w", err)
	}
	return newCredentials(leafCert, key, caCert)
}

func newCredentials(leaf *x509.Certificate, key *ecdsa.PrivateKey, ca *x509.Certificate) (*Credentials, error) {
	id, err := IdentityOf(leaf)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, fmt.Errorf("the key and the certificate of %s don't belong together", id.Name)
	}
	if err := leaf.CheckSignatureFrom(ca); err != nil {
		return nil, fmt.Errorf("the certificate of %s is not of this cluster's CA: %w", id.Name, err)
	}
	return &Credentials{
		Certificate: tls.Certificate{Certificate: [][]byte{leaf.Raw, ca.Raw}, PrivateKey: key, Leaf: leaf},
		Leaf:        leaf, CA: ca, Identity: id,
	}, nil
}

// RenewAt is when half of the certificate's life is over.
func (c *Credentials) RenewAt() time.Time {
	return c.Leaf.NotBefore.Add(c.Leaf.NotAfter.Sub(c.Leaf.NotBefore) / 2)
}
