package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newTestCA(t testing.TB) *CA {
	t.Helper()
	ca, err := NewInMemory("mycloud", now.Add(-3*365*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func wantError(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Fatalf("error is %v, want one that says %q", err, part)
	}
}

func TestCAOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	if _, err := Load(dir); !errors.Is(err, ErrNoCA) {
		t.Fatalf("Load of nothing: %v, want ErrNoCA", err)
	}
	ca, err := Init(dir, "mycloud", now)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Init(dir, "mycloud", now)
	wantError(t, err, "there already")
	info, err := os.Stat(filepath.Join(dir, "ca.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("ca.key: mode %v, %v; want 0600", info.Mode(), err)
	}

	bundle := filepath.Join(t.TempDir(), "bundle")
	if err := ca.Export(bundle); err != nil {
		t.Fatal(err)
	}
	wantError(t, ca.Export(bundle), "exists")
	if info, _ := os.Stat(bundle); info.Mode().Perm() != 0o600 {
		t.Fatalf("bundle: mode %v, want 0600", info.Mode())
	}
	second := filepath.Join(t.TempDir(), "pki")
	for range 2 { // again is fine
		got, err := Import(second, bundle)
		if err != nil || got.Fingerprint() != ca.Fingerprint() || got.Cluster() != "mycloud" {
			t.Fatalf("Import: %v", err)
		}
	}
	loaded, err := Load(second)
	if err != nil || loaded.Fingerprint() != ca.Fingerprint() {
		t.Fatalf("Load after Import: %v", err)
	}

	other := filepath.Join(t.TempDir(), "pki")
	if _, err := Init(other, "yourcloud", now); err != nil {
		t.Fatal(err)
	}
	_, err = Import(other, bundle)
	wantError(t, err, "another CA")

	if err := os.Chmod(bundle, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = Import(second, bundle)
	wantError(t, err, "open to others")
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Import(second, junk)
	wantError(t, err, "is not a bundle")
}

func TestCredentialsOnDisk(t *testing.T) {
	ca, dir := newTestCA(t), t.TempDir()
	if _, err := LoadCredentials(dir, "agent"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no credentials: %v, want fs.ErrNotExist", err)
	}
	m := Machine{UUID: "4C4C4544-0043", Serial: " SN 1/2?#% "}
	c, err := ca.IssueAgent("compute-01.example.org", m, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Save(dir, "agent"); err != nil {
		t.Fatal(err)
	}
	got, err := LoadCredentials(dir, "agent")
	if err != nil {
		t.Fatal(err)
	}
	want := Identity{Role: RoleAgent, Name: "compute-01.example.org", Machine: Machine{UUID: "4c4c4544-0043", Serial: "SN 1/2?#%"}}
	if got.Identity != want || !got.Leaf.Equal(c.Leaf) {
		t.Fatalf("loaded %+v, want %+v", got.Identity, want)
	}
	file := filepath.Join(dir, "agent.key")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = LoadCredentials(dir, "agent")
	wantError(t, err, "cannot use the credentials")
}

func TestEnsureServer(t *testing.T) {
	ca, dir := newTestCA(t), t.TempDir()
	sans := []string{"10.0.0.1", "server-1.example.org"}
	first, err := ca.EnsureServer(dir, "server-1", sans, now)
	if err != nil {
		t.Fatal(err)
	}
	same, err := ca.EnsureServer(dir, "server-1", sans, now.Add(24*time.Hour))
	if err != nil || !same.Leaf.Equal(first.Leaf) {
		t.Fatalf("a day later it was made anew (%v)", err)
	}
	for name, again := range map[string]func() (*Credentials, error){
		"half of its life":  func() (*Credentials, error) { return ca.EnsureServer(dir, "server-1", sans, now.Add(200*24*time.Hour)) },
		"another address":   func() (*Credentials, error) { return ca.EnsureServer(dir, "server-1", sans[:1], now) },
		"another name":      func() (*Credentials, error) { return ca.EnsureServer(dir, "server-2", sans, now) },
		"another authority": func() (*Credentials, error) { return newTestCA(t).EnsureServer(dir, "server-1", sans, now) },
	} {
		fresh, err := again()
		if err != nil || fresh.Leaf.Equal(first.Leaf) {
			t.Errorf("%s: not made anew (%v)", name, err)
		}
	}
}

func TestLifeOfCertificates(t *testing.T) {
	ca := newTestCA(t)
	lives := map[time.Duration]bool{}
	for range 20 {
		c, err := ca.IssueAgent("h1", Machine{UUID: "u"}, now)
		if err != nil {
			t.Fatal(err)
		}
		life := c.Leaf.NotAfter.Sub(now)
		if life < 335*24*time.Hour-time.Second || life > 395*24*time.Hour {
			t.Fatalf("life is %s, want 365 ± 30 days", life)
		}
		if half := c.RenewAt().Sub(now); half < life/2-time.Hour || half > life/2 {
			t.Fatalf("renew after %s of %s", half, life)
		}
		lives[life] = true
	}
	if len(lives) < 10 {
		t.Fatalf("20 certificates have only %d different lives", len(lives))
	}
	late, err := ca.IssueAgent("h1", Machine{UUID: "u"}, ca.cert.NotAfter.Add(-time.Hour))
	if err != nil || late.Leaf.NotAfter.After(ca.cert.NotAfter) {
		t.Fatalf("a certificate outlives its CA: %v, %v", late.Leaf.NotAfter, err)
	}
}

func TestVerifyPeer(t *testing.T) {
	ca := newTestCA(t)
	agent, err := ca.IssueAgent("h1", Machine{UUID: "u"}, now)
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.IssueServer("server-1", nil, now)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := newTestCA(t).IssueAgent("h1", Machine{UUID: "u"}, now)
	if err != nil {
		t.Fatal(err)
	}
	shown := func(c *Credentials) []*x509.Certificate { return []*x509.Certificate{c.Leaf, c.CA} }
	year := 400 * 24 * time.Hour
	for name, c := range map[string]struct {
		shown   []*x509.Certificate
		role    Role
		at      time.Time
		err     string
		expired bool
	}{
		"agent":             {shown: shown(agent), role: RoleAgent, at: now},
		"server":            {shown: shown(server), role: RoleServer, at: now},
		"server to servers": {shown: shown(server), role: RoleAgent, at: now, err: "is of the server server-1, the role wanted is agent"},
		"agent as server":   {shown: shown(agent), role: RoleServer, at: now, err: "incompatible key usage"},
		"another CA":        {shown: shown(foreign), role: RoleAgent, at: now, err: "unknown authority"},
		"nothing":           {role: RoleAgent, at: now, err: "no certificate"},
		"expired":           {shown: shown(agent), role: RoleAgent, at: now.Add(year), expired: true},
		"expired, foreign":  {shown: shown(foreign), role: RoleAgent, at: now.Add(year), err: "unknown authority"},
		"before its time":   {shown: shown(agent), role: RoleAgent, at: now.Add(-2 * time.Hour), err: "not yet valid"},
		"the CA itself":     {shown: []*x509.Certificate{ca.cert}, role: RoleAgent, at: now, err: "names no server or agent"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := VerifyPeer(ca.cert, c.shown, c.role, c.at)
			if c.err != "" {
				wantError(t, err, c.err)
				return
			}
			if err != nil || p.Expired != c.expired || p.Serial != Serial(c.shown[0]) {
				t.Fatalf("%+v, %v; want expired: %t", p, err, c.expired)
			}
		})
	}
}

func TestSignAgentRefuses(t *testing.T) {
	ca := newTestCA(t)
	request := func(key any) []byte {
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		return csr
	}
	p256, _ := NewKey()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := request(p256)
	forged := append([]byte(nil), good...)
	forged[len(forged)-1] ^= 1
	for name, c := range map[string]struct {
		csr       []byte
		host, err string
	}{
		"rsa":       {request(weak), "h1", "not ECDSA P-256"},
		"p384":      {request(p384), "h1", "not ECDSA P-256"},
		"forged":    {forged, "h1", "isn't signed by its key"},
		"junk":      {[]byte("junk"), "h1", "damaged"},
		"no host":   {good, "", "1 to 255 characters"},
		"path host": {good, "../h1", "which no host name has"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ca.SignAgent(c.csr, c.host, Machine{UUID: "u"}, now)
			wantError(t, err, c.err)
		})
	}
	if _, err := ca.SignAgent(good, "h1", Machine{UUID: "u"}, now); err != nil {
		t.Fatal(err)
	}
}
