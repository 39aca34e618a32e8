package yamlfile

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of time as operators write it: Go's form ("1.5s", "5m",
// "1h30m") and whole days ("90d", "1d12h"). Negative spans are refused; "0" is
// zero. Every other bare number is refused, since its unit would be a guess.
type Duration time.Duration

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String prints d in a form that ParseDuration reads back, whole days as "90d"
// and without trailing zero units ("5m", not "5m0s").
func (d Duration) String() string {
	const day = Duration(24 * time.Hour)
	if d > 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText implements encoding.TextMarshaler, for YAML and JSON.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler, for YAML and JSON.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// ParseDuration reads a Duration. Its error says what is expected and leaves
// it to the caller to show s, as flags and Decode do.
func ParseDuration(s string) (Duration, error) {
	fail := func() (Duration, error) {
		return 0, errors.New("expected a duration like 12s, 5m or 90d")
	}
	if s == "0" {
		return 0, nil
	}
	var total time.Duration
	rest := s
	if days, after, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > math.MaxInt64/uint64(24*time.Hour) {
			return fail()
		}
		total, rest = time.Duration(n)*24*time.Hour, after
		if rest == "" {
			return Duration(total), nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || strings.ContainsAny(rest, "+-") || rest == "0" || d > math.MaxInt64-total {
		return fail()
	}
	return Duration(total + d), nil
}
