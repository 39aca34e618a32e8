package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A database that is cut short or overwritten is told at once, instead of a crash in etcd or a start that hangs.
func TestDamagedDatabase(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(path string) error
	}{
		{"cut short", func(path string) error { return os.Truncate(path, 8192) }},
		{"overwritten", func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("x", 100_000)), 0o600) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := Options{Name: "server-1", DataDir: t.TempDir(), Logger: quiet(t)}
			s, err := OpenEmbedded(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(o.DataDir, "etcd", "member", "snap", "db")
			if err := checkDatabase(path); err != nil {
				t.Fatalf("a sound database: %v", err)
			}
			if err := tc.spoil(path); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenEmbedded(o); err == nil || !strings.Contains(err.Error(), "put a backup of the directory back") {
				t.Errorf("%v; expected what to do", err)
			}
		})
	}
	if err := checkDatabase(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("no database yet: %v", err)
	}
	if errors.Is(checkDatabase(t.TempDir()), errDamaged) {
		t.Error("a directory is no damaged database")
	}
}
