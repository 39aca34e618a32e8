package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	caCertFile = "ca.crt"
	caKeyFile  = "ca.key"

	pemCert = "CERTIFICATE"
	pemKey  = "PRIVATE KEY"
)

// ErrNoCA says that a directory has no CA.
var ErrNoCA = errors.New("there is no CA here: make one with `ninelives server init`, or bring another server's with --bundle")

// Init makes a new CA in dir (ca.crt, and ca.key with mode 0600). It is an error if there is one.
func Init(dir, cluster string, now time.Time) (*CA, error) {
	if err := noCA(dir); err != nil {
		return nil, fmt.Errorf("cannot make a CA in %s: %w", dir, err)
	}
	ca, err := NewInMemory(cluster, now)
	if err != nil {
		return nil, err
	}
	return ca, ca.save(dir)
}

// noCA is nil only if it is certain that there is none: overwriting a CA cuts off every agent.
func noCA(dir string) error {
	for _, name := range []string{caKeyFile, caCertFile} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("%s is there already", name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (ca *CA) save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot store the CA: %w", err)
	}
	key, err := encodeKey(ca.key)
	if err != nil {
		return err
	}
	// The key first: a certificate without a key would look like a CA that lost its key.
	if err := writeFile(filepath.Join(dir, caKeyFile), key, 0o600); err != nil {
		return fmt.Errorf("cannot store the CA's key: %w", err)
	}
	if err := writeFile(filepath.Join(dir, caCertFile), encodeCert(ca.cert), 0o644); err != nil {
		return fmt.Errorf("cannot store the CA's certificate: %w", err)
	}
	return nil
}

// Load reads the CA in dir. ErrNoCA if there is none.
func Load(dir string) (*CA, error) {
	cert, err := os.ReadFile(filepath.Join(dir, caCertFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoCA)
	} else if err != nil {
		return nil, fmt.Errorf("cannot read the CA's certificate: %w", err)
	}
	key, err := readSecret(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, fmt.Errorf("cannot read the CA's key: %w", err)
	}
	ca, err := parseCA(append(cert, key...))
	if err != nil {
		return nil, fmt.Errorf("cannot use the CA in %s: %w", dir, err)
	}
	return ca, nil
}

// Export writes a bundle for further servers into file, mode 0600; an existing file is an error. It holds the CA's key:
// to be carried safely and deleted after use.
func (ca *CA) Export(file string) error {
	key, err := encodeKey(ca.key)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write the bundle: %w", err)
	}
	_, err = f.Write(append(encodeCert(ca.cert), key...))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot write the bundle: %w", err)
	}
	return nil
}

// Import stores a bundle's CA in dir. To do it again is fine; it is an error if dir has another CA.
func Import(dir, file string) (*CA, error) {
	text, err := readSecret(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the bundle: %w", err)
	}
	ca, err := parseCA(text)
	if err != nil {
		return nil, fmt.Errorf("%s is not a bundle of `ninelives server init`: %w", file, err)
	}
	if noCA(dir) != nil {
		old, err := Load(dir)
		if err != nil {
			return nil, err
		}
		if old.Fingerprint() != ca.Fingerprint() {
			return nil, fmt.Errorf("%s has the CA of cluster %s already, the bundle is of another CA (cluster %s); if this server never belonged to that cluster, remove %s",
				dir, old.Cluster(), ca.Cluster(), dir)
		}
		return old, nil
	}
	return ca, ca.save(dir)
}

// Save stores credentials in dir as <name>.crt and <name>.key (0600), and the CA as ca.crt.
func (c *Credentials) Save(dir, name string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot store credentials: %w", err)
	}
	ecKey, ok := c.Certificate.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("cannot store credentials: their key is a %T", c.Certificate.PrivateKey)
	}
	key, err := encodeKey(ecKey)
	if err != nil {
		return err
	}
	// The .key file holds everything, so that one rename replaces key and certificate together; the others are for
	// people and other programs.
	err = writeFile(filepath.Join(dir, name+".key"), slices.Concat(key, encodeCert(c.Leaf), encodeCert(c.CA)), 0o600)
	if err == nil {
		err = writeFile(filepath.Join(dir, name+".crt"), slices.Concat(encodeCert(c.Leaf), encodeCert(c.CA)), 0o644)
	}
	if err == nil {
		err = writeFile(filepath.Join(dir, caCertFile), encodeCert(c.CA), 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot store credentials: %w", err)
	}
	return nil
}

// LoadCredentials reads what Save wrote. fs.ErrNotExist if there are none.
func LoadCredentials(dir, name string) (*Credentials, error) {
	text, err := readSecret(filepath.Join(dir, name+".key"))
	if err != nil {
		return nil, fmt.Errorf("cannot read credentials: %w", err)
	}
	certs, key, err := parsePEM(text)
	if err != nil || key == nil || len(certs) != 2 {
		return nil, fmt.Errorf("cannot use the credentials in %s: %s.key should hold a key, its certificate and the CA's (%v)",
			dir, name, err)
	}
	return NewCredentials(certs[0], certs[1], key)
}

// EnsureServer reads a server's credentials from dir (server.crt, server.key) and makes new ones when there are none,
// when half of their life is over, or when they are of another name, CA or set of addresses.
func (ca *CA) EnsureServer(dir, name string, sans []string, now time.Time) (*Credentials, error) {
	c, err := LoadCredentials(dir, "server")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	fresh, err := ca.IssueServer(name, sans, now)
	if err != nil {
		return nil, err
	}
	if c != nil && c.CA.Equal(ca.cert) && c.Identity == fresh.Identity && now.Before(c.RenewAt()) &&
		slices.Equal(c.Leaf.DNSNames, fresh.Leaf.DNSNames) && slices.EqualFunc(c.Leaf.IPAddresses, fresh.Leaf.IPAddresses, net.IP.Equal) {
		return c, nil
	}
	return fresh, fresh.Save(dir, "server")
}

// LoadKey reads the key in file, or makes one and stores it there (0600).
func LoadKey(file string) (*ecdsa.PrivateKey, error) {
	text, err := readSecret(file)
	if err == nil {
		_, key, err := parsePEM(text)
		if err != nil || key == nil {
			return nil, fmt.Errorf("cannot use the key in %s: %v", file, err)
		}
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the key: %w", err)
	}
	key, err := newKey()
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	text, err = encodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("cannot store the key: %w", err)
	}
	if err := writeFile(file, text, 0o600); err != nil {
		return nil, fmt.Errorf("cannot store the key: %w", err)
	}
	return key, nil
}

func parseCA(text []byte) (*CA, error) {
	certs, key, err := parsePEM(text)
	if err != nil {
		return nil, err
	}
	if len(certs) != 1 || key == nil {
		return nil, fmt.Errorf("want one certificate and its key, found %d certificates, key: %t", len(certs), key != nil)
	}
	return newCA(certs[0], key)
}

func parsePEM(text []byte) (certs [][]byte, key *ecdsa.PrivateKey, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return certs, key, nil
		}
		switch block.Type {
		case pemCert:
			certs = append(certs, block.Bytes)
		case pemKey:
			any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, nil, fmt.Errorf("the private key is damaged: %w", err)
			}
			var ok bool
			if key, ok = any.(*ecdsa.PrivateKey); !ok {
				return nil, nil, errors.New("the private key is not ECDSA")
			}
		default:
			return nil, nil, fmt.Errorf("unexpected PEM block %q", block.Type)
		}
	}
}

func encodeCert(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: cert.Raw})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("cannot write the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}
