package server

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// onlyAPI is a server of which nothing but the API's port is opened.
func onlyAPI(t *testing.T, cfg Config) (*Server, error) {
	t.Helper()
	s := &Server{cards: newCards(nil), cfg: cfg, log: slog.New(slog.DiscardHandler), admin: "correct-horse-battery-staple"}
	err := s.openAPI()
	t.Cleanup(func() {
		for _, f := range s.stops {
			_ = f(t.Context())
		}
	})
	return s, err
}

func TestTheAPIIsNeverInClearTextOnANetwork(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for addr, says := range map[string]string{
		"0.0.0.0:0": "clear text", "[::]:0": "clear text", ":0": "clear text", "example.org:1": "clear text",
		"7400": "HOST:PORT", taken.Addr().String(): "in use",
	} {
		_, err := onlyAPI(t, Config{Listen: Listen{API: addr}})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "listen.api") {
			t.Errorf("%s: %v, want %q", addr, err, says)
		}
	}
	if s, err := onlyAPI(t, Config{}); err != nil || s.APIAddr() != nil {
		t.Errorf("without an address there is no API: %v %v", s.APIAddr(), err)
	}
}

// A renewed certificate counts from the next connection on; one that is half-written doesn't lock anybody out.
func TestTheAPIsCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	ca, err := pki.NewInMemory("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := issue(ca, dir); err != nil {
		t.Fatal(err)
	}
	tlsFiles := TLS{Cert: filepath.Join(dir, "api.crt"), Key: filepath.Join(dir, "api.key")}
	s, err := onlyAPI(t, Config{Listen: Listen{API: "0.0.0.0:0"}, TLS: tlsFiles})
	if err != nil {
		t.Fatal(err)
	}
	s.api.Start()
	_, port, _ := net.SplitHostPort(s.APIAddr().String())
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate())
	serial := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: roots})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return pki.Serial(c.ConnectionState().PeerCertificates[0])
	}
	first := serial()
	if err := issue(ca, dir); err != nil {
		t.Fatal(err)
	}
	second := serial()
	if first == second {
		t.Error("the renewed certificate isn't shown")
	}
	if err := os.WriteFile(tlsFiles.Cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != second {
		t.Errorf("with a broken file: %s, want the last good one", got)
	}
	cl, err := client.New("https://127.0.0.1:"+port, "wrong token, which is long enough", &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cl.Status(t.Context())
	problemOf(t, err, 401, "token")
	if _, err := onlyAPI(t, Config{Listen: Listen{API: "0.0.0.0:0"}, TLS: tlsFiles}); err == nil || !strings.Contains(err.Error(), "tls.cert") {
		t.Errorf("a broken certificate at the start: %v", err)
	}
}

func issue(ca *pki.CA, dir string) error {
	cred, err := ca.IssueServer("api", []string{"127.0.0.1"}, time.Now())
	if err != nil {
		return err
	}
	return cred.Save(dir, "api")
}
