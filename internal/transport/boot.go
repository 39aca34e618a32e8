package transport

import (
	"fmt"

	"github.com/google/uuid"
)

// Boot is one life of a machine: Linux's /proc/sys/kernel/random/boot_id. The zero Boot is none.
type Boot [16]byte

// ParseBoot reads a boot as the kernel writes it (36 characters with dashes, a line end is allowed).
func ParseBoot(s string) (Boot, error) {
	if n := len(s); n > 0 && s[n-1] == '\n' {
		s = s[:n-1]
	}
	if len(s) != 36 {
		return Boot{}, fmt.Errorf("cannot read boot id %q: want 36 characters as in /proc/sys/kernel/random/boot_id", s)
	}
	u, err := uuid.Parse(s)
	if err != nil {
		return Boot{}, fmt.Errorf("cannot read boot id %q: %v", s, err)
	}
	return bootOf(u[:])
}

// BootFromBytes takes the 16 bytes of a message's boot field. Another length, or a zero boot, is an error.
func BootFromBytes(b []byte) (Boot, error) { return bootOf(b) }

func bootOf(b []byte) (Boot, error) {
	if len(b) != len(Boot{}) {
		return Boot{}, fmt.Errorf("a boot id has 16 bytes, not %d", len(b))
	}
	boot := Boot(b)
	if boot.IsZero() {
		return Boot{}, fmt.Errorf("the boot id is zero")
	}
	return boot, nil
}

// IsZero is true for no boot.
func (b Boot) IsZero() bool { return b == Boot{} }

// String writes the boot as the kernel does.
func (b Boot) String() string { return uuid.UUID(b).String() }

// Bytes are the 16 bytes for a message's boot field.
func (b Boot) Bytes() []byte { return append([]byte(nil), b[:]...) }
