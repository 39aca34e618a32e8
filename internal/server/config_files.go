package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// configFiles are the PEM files that server.yaml names, read as the server will read them.
type configFiles struct {
	f           *yamlfile.File
	now         time.Time
	errs, ended yamlfile.Errors // what can't be used; what has ended
}

func readFiles(c Config, f *yamlfile.File, now time.Time) *configFiles {
	r := &configFiles{f: f, now: now}
	r.pair("tls", c.TLS.Cert, c.TLS.Key)
	if c.external() {
		r.pair("etcd.tls", c.Etcd.TLS.Cert, c.Etcd.TLS.Key)
		r.authorities("etcd.tls.ca", c.Etcd.TLS.CA)
	}
	return r
}

func (r *configFiles) fail(key, format string, args ...any) {
	r.errs = append(r.errs, r.f.Errorf(key, format, args...))
}

// pair reads a certificate and its key.
func (r *configFiles) pair(at, cert, key string) {
	switch {
	case cert == "" && key == "":
		return
	case cert == "":
		r.fail(at, "%s.key is given, but not %s.cert: the two belong together", at, at)
		return
	case key == "":
		r.fail(at, "%s.cert is given, but not %s.key: the two belong together", at, at)
		return
	}
	certText, haveCert := r.read(at+".cert", cert)
	keyText, haveKey := r.read(at+".key", key)
	if !haveCert || !haveKey {
		return
	}
	pair, err := tls.X509KeyPair(certText, keyText)
	if err != nil {
		r.fail(at+".cert", "%s and %s can't be used together: %v", cert, key, err)
		return
	}
	r.ends(at+".cert", cert, pair.Leaf)
}

// authorities reads certificates that others are checked against.
func (r *configFiles) authorities(at, file string) {
	if file == "" {
		return
	}
	text, ok := r.read(at, file)
	if !ok {
		return
	}
	found := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			r.fail(at, "%s can't be used: %v", file, err)
			return
		}
		r.ends(at, file, cert)
		found++
	}
	if found == 0 {
		r.fail(at, "%s holds no certificate (PEM)", file)
	}
}

func (r *configFiles) read(at, file string) ([]byte, bool) {
	text, err := os.ReadFile(file)
	if err == nil {
		return text, true
	}
	if where, ok := errors.AsType[*fs.PathError](err); ok {
		err = where.Err
	}
	r.fail(at, "%s can't be read: %v", file, err)
	return nil, false
}

func (r *configFiles) ends(at, file string, cert *x509.Certificate) {
	if r.now.After(cert.NotAfter) {
		r.ended = append(r.ended, r.f.Errorf(at, "the certificate in %s ended %s: who checks it refuses it", file, cert.NotAfter.UTC().Format(time.RFC3339)))
	}
}
