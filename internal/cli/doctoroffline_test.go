package cli

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/server"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// One of several servers is told before its first start that it needs the others' CA.
func TestDoctorWantsTheCA(t *testing.T) {
	t.Parallel()
	cfg := server.Config{Data: t.TempDir()}
	cfg.Cluster.Initial = map[string]string{"a": "192.0.2.1:7604"}
	if found := caFindings(cfg); len(found) > 0 {
		t.Errorf("a server alone makes its own: %v", found)
	}
	cfg.Cluster.Initial["b"], cfg.Cluster.Initial["c"] = "192.0.2.2:7604", "192.0.2.3:7604"
	if found := caFindings(cfg); len(found) != 1 || found[0].Severity != api.Warn || found[0].Code != "ca" {
		t.Errorf("one of three, without a CA: %v", found)
	}
	dir := filepath.Join(cfg.Data, "pki")
	if _, err := pki.Init(dir, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	if found := caFindings(cfg); len(found) > 0 {
		t.Errorf("with a CA: %v", found)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found := caFindings(cfg); len(found) != 1 || found[0].Severity != api.Refuse {
		t.Errorf("with a damaged CA: %v", found)
	}
}
