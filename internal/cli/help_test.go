package cli_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/cli"
)

// The help is the documentation: all of it in one file, reviewed as a diff.
func TestHelp(t *testing.T) {
	var all bytes.Buffer
	for _, c := range commands(t, nil) {
		text := help(t, c)
		all.WriteString("$ ninelives " + strings.Join(append(c, "--help"), " ") + "\n" + text + "\n")
		long, _, _ := strings.Cut(text, "Usage:")
		if len(c) > 0 && len(strings.TrimSpace(long)) < 40 {
			t.Errorf("%v: its help says next to nothing: %q", c, long)
		}
		for i, line := range strings.Split(text, "\n") {
			if strings.Contains(line, "\t") {
				t.Errorf("%v: line %d of its help has a tab", c, i+1)
			}
		}
	}
	const golden = "testdata/help.golden"
	if flag.Lookup("update").Value.String() == "true" {
		if err := os.WriteFile(golden, all.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), all.String()); d != "" {
		t.Errorf("the help has changed; if it is meant: go test ./internal/cli -run TestHelp -update\n%s", d)
	}
}

// foreign are commands that are tested where they are made, or not ours.
var foreign = []string{"completion", "help", "demo"}

// commands lists a command and those below it, as the help names them.
func commands(t *testing.T, at []string) [][]string {
	out := [][]string{at}
	inside := false
	for _, line := range strings.Split(help(t, at), "\n") {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case strings.HasSuffix(line, ":"):
			inside = line == "Available Commands:" || len(at) == 0 && !strings.Contains(line, "Flags") && !strings.Contains(line, "codes") && line != "Usage:"
		case !inside || !strings.HasPrefix(line, "  ") || name == "" || contains(foreign, name):
		default:
			out = append(out, commands(t, append(append([]string{}, at...), name))...)
		}
	}
	return out
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func help(t *testing.T, command []string) string {
	t.Helper()
	var out bytes.Buffer
	code := cli.Run(context.Background(), cli.Env{
		Args: append(append([]string{}, command...), "--help"), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
		Getenv: func(string) string { return "" }, Now: time.Now,
	})
	if code != 0 {
		t.Fatalf("%v --help ends with %d: %s", command, code, out.String())
	}
	return out.String()
}
