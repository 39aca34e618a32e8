// Package pki is the built-in certificate authority of a cluster: it makes the CA, signs servers and agents, and knows
// one-time tokens.
package pki

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// CA signs the certificates of one cluster.
type CA struct{}

// Credentials is what one party needs to speak: key, certificate, CA. Immutable.
type Credentials struct {
	Certificate tls.Certificate
	Leaf        *x509.Certificate
	CA          *x509.Certificate
	Identity    Identity
}

// Init makes a new CA in dir (ca.crt, and ca.key with mode 0600). It is an error if there is one.
func Init(dir, cluster string, now time.Time) (*CA, error) { panic("coming") }

// Load reads the CA in dir.
func Load(dir string) (*CA, error) { panic("coming") }

// NewInMemory makes a CA that is stored nowhere, for demos and tests.
func NewInMemory(cluster string, now time.Time) (*CA, error) { panic("coming") }

// Export writes a bundle for further servers into file, mode 0600; an existing file is an error. Guard it like the CA's key.
func (ca *CA) Export(file string) error { panic("coming") }

// Import stores a bundle's CA in dir. It is an error if dir has another CA.
func Import(dir, file string) (*CA, error) { panic("coming") }

// Cluster is the cluster's name.
func (ca *CA) Cluster() string { panic("coming") }

// Fingerprint is the SHA-256 of the CA's certificate, hex.
func (ca *CA) Fingerprint() string { panic("coming") }

// IssueServer makes a key and certificate for a server; sans are IP addresses and DNS names, of its API for example.
func (ca *CA) IssueServer(name string, sans []string, now time.Time) (*Credentials, error) {
	panic("coming")
}

// IssueAgent makes a key and certificate for an agent here, for demos and tests (an agent that joins makes its own key).
func (ca *CA) IssueAgent(host string, m Machine, now time.Time) (*Credentials, error) {
	panic("coming")
}

// Save stores credentials in dir as <name>.crt, <name>.key (0600) and ca.crt, each at once or not at all.
func (c *Credentials) Save(dir, name string) error { panic("coming") }

// LoadCredentials reads what Save wrote.
func LoadCredentials(dir, name string) (*Credentials, error) { panic("coming") }
