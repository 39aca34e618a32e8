package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// Mistakes are told before anything is started.
func TestDemoUsage(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"demo --cut host-99 --exit", "--cut host-99: there is no such host; there are host-01, host-02"},
		{"demo --hosts 1", "--hosts 1: the demo takes 2 to"},
		{"demo --exit -o yaml", "the demo knows table and json"},
		{"demo -o json", "-o json needs --exit"},
		{"demo host-03", "takes no arguments"},
	} {
		var out, err bytes.Buffer
		code := Run(t.Context(), Env{
			Args: strings.Fields(tc.args), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &err,
			Getenv: func(string) string { return "" }, Now: time.Now,
		})
		if code != exitUsage || !strings.Contains(err.String(), tc.want) || out.Len() > 0 {
			t.Errorf("%s: exit %d, %q, %q; want exit %d and %q", tc.args, code, err.String(), out.String(), exitUsage, tc.want)
		}
	}
}
