package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
)

// FuzzJoinRequest is what anybody may send to the agents' port without a certificate: a token, a certificate request, a
// host and its machine. A certificate says exactly who was asked for, whatever the request says of itself.
func FuzzJoinRequest(f *testing.F) {
	ca := newTestCA(f)
	token, _, err := ca.NewToken("h1", 0, now)
	if err != nil {
		f.Fatal(err)
	}
	for _, csr := range requests(f) {
		f.Add(token.Wire(), csr, "compute-07", "4C4C4544-0042-3510-8052-B4C04F4A4E31", " ABC 123 ")
		f.Add(token.Text(), csr[:len(csr)/2], "h/../server", "", "\xff&uuid=x;%00")
	}
	f.Add("aaaaaaaa.", []byte{}, "", "", "")
	f.Fuzz(func(t *testing.T, wire string, csr []byte, host, uuid, serial string) {
		if id, secret, err := SplitWire(wire); err == nil && (len(id) != 8 || id+"."+secret != wire) {
			t.Errorf("the token %q is taken for %q and %q", wire, id, secret)
		}
		if tok, err := ParseToken(wire); err == nil && tok.Text() != strings.TrimSpace(wire) {
			t.Errorf("the token %q is taken for %q", wire, tok.Text())
		}
		m := Machine{UUID: uuid, Serial: serial}
		key, err := RequestKeyID(csr)
		cert, signErr := ca.SignAgent(csr, host, m, now)
		if err != nil && signErr == nil {
			t.Fatalf("a request without a key (%v) was signed", err)
		}
		if signErr != nil {
			return
		}
		der, err := x509.MarshalPKIXPublicKey(cert.PublicKey)
		if err != nil || fingerprint(der) != key {
			t.Errorf("signed is the key %s (%v), asked was for %s", fingerprint(der), err, key)
		}
		want := Identity{Role: RoleAgent, Name: host, Machine: m.Normal()}
		if got, err := IdentityOf(cert); err != nil || got != want {
			t.Errorf("the certificate is for %+v (%v), want %+v", got, err, want)
		}
		if cert.IsCA || cert.Subject.CommonName != AgentCommonName || len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.EmailAddresses) > 0 {
			t.Errorf("the request had its way: CA %t, %v, %v", cert.IsCA, cert.Subject, cert.DNSNames)
		}
	})
}

// requests are a plain one, one that would be more than it may, and ones with keys that are not taken.
func requests(f *testing.F) (out [][]byte) {
	p256, err := newKey()
	if err != nil {
		f.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	bold := x509.CertificateRequest{
		Subject: pkix.Name{CommonName: ServerCommonName}, DNSNames: []string{"server-1"},
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff}}},
	}
	for _, c := range []struct {
		r   x509.CertificateRequest
		key any
	}{{x509.CertificateRequest{}, p256}, {bold, p256}, {x509.CertificateRequest{}, p384}, {x509.CertificateRequest{}, weak}} {
		csr, err := x509.CreateCertificateRequest(rand.Reader, &c.r, c.key)
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, csr)
	}
	return out
}
