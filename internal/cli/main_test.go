package cli_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/cli"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/script")

const token = "correct-horse-battery-staple"

// TestMain lets scripts run this test binary as `ninelives`.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"ninelives": run})
}

// run is the program with a fixed clock, and terminals where TTY says so.
func run() {
	now := func() time.Time { return night }
	terminal := os.Getenv("TTY") != ""
	os.Exit(cli.Run(context.Background(), cli.Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: now, Version: "v0-test",
		InTerminal: terminal, OutTerminal: terminal,
	}))
}

// TestScripts runs each script against real API servers with made-up backends: $NIGHT has one host down and being
// recovered, $QUIET has nothing at all, $FOLLOWER doesn't lead.
func TestScripts(t *testing.T) {
	deploy, err := filepath.Abs("../../deploy")
	if err != nil {
		t.Fatal(err)
	}
	urls := map[string]string{
		"NIGHT": serve(t, &nightly{}), "QUIET": serve(t, &quiet{}), "FOLLOWER": serve(t, &follower{}), "MINORITY": serve(t, &minority{}), "NOBODY": unused(t),
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: *update, RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			for name, url := range urls {
				e.Setenv(name, url)
			}
			e.Setenv("NINELIVES_SERVER", urls["NIGHT"])
			e.Setenv("NINELIVES_TOKEN", token)
			e.Setenv("DEPLOY", deploy)
			if _, err := pki.Init(filepath.Join(e.WorkDir, "old"), "old", time.Now().AddDate(-30, 0, 0)); err != nil {
				return err
			}
			config := fmt.Sprintf("host: compute-07\nservers: [127.0.0.1:1]\nplanes: {management: 127.0.0.1}\ndata: %s/agent-data\n", e.WorkDir)
			taken := fmt.Sprintf("name: server-1\ndata: data\nlisten: {api: %s, agents: 127.0.0.1:0, cluster: 127.0.0.1:0}\n", strings.TrimPrefix(urls["NIGHT"], "http://"))
			return errors.Join(os.WriteFile(filepath.Join(e.WorkDir, "agent.yaml"), []byte(config), 0o600),
				os.WriteFile(filepath.Join(e.WorkDir, "taken.yaml"), []byte(taken), 0o600))
		},
	})
}

func serve(t *testing.T, b api.Backend) string {
	t.Helper()
	s, err := api.New(api.Options{Backend: b, Token: token, Listener: listen(t), Now: func() time.Time { return night }})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("the API doesn't stop: %v", err)
		}
	})
	return "http://" + s.Addr().String()
}

// unused is an address at which nothing listens.
func unused(t *testing.T) string {
	t.Helper()
	l := listen(t)
	defer l.Close()
	return "http://" + l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
