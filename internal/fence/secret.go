package fence

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
)

// Secret is a password. It prints as *** whatever it is printed with; only
// Reveal gives it away.
type Secret struct{ text string }

const hidden = "***"

// NewSecret keeps text from being printed.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the secret itself, for the place that sends it.
func (s Secret) Reveal() string { return s.text }

// String returns ***.
func (s Secret) String() string { return hidden }

// GoString returns ***.
func (s Secret) GoString() string { return hidden }

// Format prints ***, under every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText returns ***: a secret is never stored.
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue returns ***.
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// ReadSecret reads a secret from a file or from the environment, whichever is
// named; the zero Secret if neither is. It is called at each use, so that a
// changed password counts at once. One line break at the end of a file is not
// part of the secret.
func ReadSecret(file, env string) (Secret, error) {
	switch {
	case file != "":
		data, err := os.ReadFile(file)
		if err != nil {
			return Secret{}, fmt.Errorf("cannot read the password: %w", err)
		}
		text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
		if text == "" {
			return Secret{}, fmt.Errorf("cannot read the password: %s is empty", file)
		}
		if strings.ContainsAny(text, "\r\n\x00") {
			return Secret{}, fmt.Errorf("cannot read the password: %s has more than one line", file)
		}
		return Secret{text}, nil
	case env != "":
		text, ok := os.LookupEnv(env)
		if !ok || text == "" {
			return Secret{}, fmt.Errorf("cannot read the password: %s is not set in the environment", env)
		}
		if strings.ContainsAny(text, "\r\n") {
			return Secret{}, fmt.Errorf("cannot read the password: %s in the environment has more than one line", env)
		}
		return Secret{text}, nil
	}
	return Secret{}, nil
}
