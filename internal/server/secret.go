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
		return readToken(path, strings.TrimSpace(string(text)))
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("cannot read the admin token: %w", err)
	}
	token := strings.ToLower(rand.Text())
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("cannot store the admin token: %w", err)
	}
	return token, nil
}

// readToken refuses what nobody could have sent in a header, and a token that all users of the machine may have read.
func readToken(path, token string) (string, error) {
	const remedy = "delete the file and a new one is made"
	if len(token) < 26 {
		return "", fmt.Errorf("the admin token in %s is too short to be one; %s", path, remedy)
	}
	if len(token) > 256 || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("the admin token in %s is damaged: a token is one word of ASCII; %s", path, remedy)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("cannot read the admin token: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("%s is open to everybody (mode %04o), and it is the admin token; %s (0600)", path, info.Mode().Perm(), remedy)
	}
	return token, nil
}
