package cli_test

import (
	"testing"
)

// The exit codes that the help promises.
func TestExitCodes(t *testing.T) {
	calm, nothing, nobody, other := serve(t, &nightly{}), serve(t, &quiet{}), unused(t), serve(t, &follower{})
	for _, tc := range []struct {
		want int
		url  string
		args []string
	}{
		{0, calm, []string{"status"}},
		{0, nothing, []string{"doctor"}},
		{0, calm, nil},
		{1, calm, []string{"host", "show", "compute-99"}},
		{1, calm, []string{"doctor"}},
		{3, calm, []string{"fence", "check"}},
		{1, calm, []string{"arm"}},
		{1, calm, []string{"host", "drain", "compute-07"}},
		{2, calm, []string{"disarm"}},
		{2, calm, []string{"plan"}},
		{2, calm, []string{"no-such-command"}},
		{2, calm, []string{"host"}},
		{2, calm, []string{"status", "--no-such-flag"}},
		{2, calm, []string{"status", "--timeout", "soon"}},
		{3, calm, []string{"status", "--exit-code"}},
		{3, nothing, []string{"status", "--exit-code"}},
		{3, calm, []string{"incident", "watch", "7f3a"}},
		{4, nobody, []string{"status"}},
		{4, nobody, []string{"events"}},
		{4, nobody, []string{"host", "fence", "compute-07", "--reason", "x", "--yes"}},
		{2, calm, []string{"host", "fence", "compute-07", "--reason", "x"}},
		{4, other, []string{"host", "list"}},
	} {
		stdout, stderr := &output{}, &output{}
		if got := call(t, t.Context(), tc.url, stdout, stderr, tc.args...); got != tc.want {
			t.Errorf("%v: exit code %d, want %d; it said:\n%s%s", tc.args, got, tc.want, stdout, stderr)
		}
	}
}
