package cli

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

// Nothing is said within two seconds, and what was said is wiped before the answer is shown.
func TestWaiting(t *testing.T) {
	for _, tc := range []struct {
		terminal bool
		takes    time.Duration
		want     string
	}{
		{true, 1900 * time.Millisecond, ""},
		{false, time.Minute, ""},
		{true, 3500 * time.Millisecond, "waiting for it, 2 s\r\x1b[Kwaiting for it, 3 s\r\x1b[K"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			a := &app{env: Env{Stderr: &out, ErrTerminal: tc.terminal}}
			done := a.waiting("it")
			time.Sleep(tc.takes)
			done()
			if out.String() != tc.want {
				t.Errorf("terminal %v, %s: got %q, want %q", tc.terminal, tc.takes, out.String(), tc.want)
			}
		})
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 0: "0 s", 1500 * time.Millisecond: "1.5 s", 9999 * time.Millisecond: "9.9 s", 12 * time.Second: "12 s", 119 * time.Second: "119 s",
		2 * time.Minute: "2 min", 119 * time.Minute: "119 min", 2 * time.Hour: "2 h", 47 * time.Hour: "47 h", 48 * time.Hour: "2 days", 9 * time.Second: "9 s",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
}
