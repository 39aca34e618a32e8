package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDamagedTokens(t *testing.T) {
	good := strings.Repeat("k", 26)
	for _, tc := range []struct {
		name, text string
		mode       os.FileMode
		want       string // "": taken
	}{
		{"good", good + "\n", 0o600, ""},
		{"for a group", good, 0o640, ""},
		{"empty", "", 0o600, "too short"},
		{"binary", good + "\xff\x00", 0o600, "damaged"},
		{"two words", good + " " + good, 0o600, "damaged"},
		{"endless", strings.Repeat("k", 5000), 0o600, "damaged"},
		{"open", good, 0o644, "open to everybody (mode 0644)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "admin.token")
			if err := os.WriteFile(path, []byte(tc.text), tc.mode); err != nil {
				t.Fatal(err)
			}
			token, err := ensureToken(path)
			switch {
			case tc.want == "" && (err != nil || token != good):
				t.Errorf("%q, %v; expected it to be taken", token, err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), good)):
				t.Errorf("%v; expected it to say %q, without the token", err, tc.want)
			}
		})
	}
}
