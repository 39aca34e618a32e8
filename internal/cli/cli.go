// Package cli is the command line: it parses flags, wires the daemons together, and shows what the REST API answers.
// Client commands use the API only and decide nothing.
package cli

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/term"
)

// Env is the world of one run, handed in so that tests can replace it.
type Env struct {
	Args    []string // without the program's name
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Getenv  func(string) string
	Now     func() time.Time
	Version string
	// Transport reaches the REST API; nil: over the network.
	Transport http.RoundTripper
	// Terminal: whether people see standard output, standard error and type at standard input.
	OutTerminal, ErrTerminal, InTerminal bool
}

// Main runs the program's own arguments; version is the linker's, "" if it set none. It returns the exit code.
func Main(version string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	return Run(ctx, Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now,
		Version: buildVersion(version), OutTerminal: isTerminal(os.Stdout), ErrTerminal: isTerminal(os.Stderr), InTerminal: isTerminal(os.Stdin),
	})
}

// Run runs one command until it is done or ctx ends, and returns the exit code.
func Run(ctx context.Context, env Env) int {
	a := &app{env: env}
	root := a.root()
	root.SetArgs(append([]string{}, env.Args...)) // nil would mean os.Args
	cmd, err := root.ExecuteContextC(ctx)
	return a.report(cmd, err)
}

// app is one run of the program.
type app struct {
	env  Env
	conn connection
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// buildVersion is the linker's version, else what the Go tool has noted.
func buildVersion(linked string) string {
	if linked != "" {
		return linked
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	rev, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			rev = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	switch {
	case info.Main.Version != "" && info.Main.Version != "(devel)":
		return info.Main.Version
	case rev != "":
		return rev[:min(12, len(rev))] + dirty
	default:
		return "unknown"
	}
}
