package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// ensureToken reads the admin token, or makes one at first start (0600).
func ensureToken(path string) (string, error) {
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		if t := strings.TrimSpace(string(text)); len(t) >= 26 {
			return t, nil
		}
		return "", fmt.Errorf("the admin token in %s is too short to be one; delete the file and a new one is made", path)
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("cannot read the admin token: %w", err)
	}
	token := strings.ToLower(rand.Text())
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("cannot store the admin token: %w", err)
	}
	return token, nil
}
