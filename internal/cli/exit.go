package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
)

// The exit codes, as the help names them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitHeld        = 3
	exitUnreachable = 4
)

// usageError is a mistake in how the command was called.
type usageError struct{ text, command string }

// Error says what is wrong and where to read how it is right.
func (e *usageError) Error() string {
	return e.text + "\n" + e.command + " --help tells more"
}

func usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...), command: cmd.CommandPath()}
}

// exitCode is an end that is no error but isn't 0 either: what there is to say has been said.
type exitCode int

// Error is never shown.
func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report shows an error and what to do next, and returns the exit code.
func (a *app) report(cmd *cobra.Command, err error) int {
	var code exitCode
	var wrong *usageError
	var p *api.Problem
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &wrong):
		a.complain(wrong.Error())
		return exitUsage
	case errors.As(err, &p):
		a.complain(a.problemText(p))
		if p.Status == http.StatusServiceUnavailable {
			return exitUnreachable
		}
		return exitFailed
	case errors.Is(err, context.Canceled):
		a.complain("interrupted")
		return exitFailed
	case errors.Is(err, client.ErrUnreachable):
		a.complain(err.Error() + "\n" + a.unreachableAdvice(err))
		return exitUnreachable
	default:
		a.complain(err.Error())
		return exitFailed
	}
}

// complain writes an error: "ninelives: " before its first line only.
func (a *app) complain(text string) {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := range lines {
		lines[i] = words(lines[i]) // it may quote a VM's name
	}
	fmt.Fprintln(a.env.Stderr, a.errPaint(red, "ninelives:")+" "+strings.Join(lines, "\n"))
}

func (a *app) unreachableAdvice(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("It didn't answer within %s (--timeout). Does `systemctl status ninelives-server` there say that it works?", a.conn.timeout)
	}
	if a.conn.serverFrom == "" {
		return "Is it running (systemctl status ninelives-server)? If it runs on another machine: --server URL, or NINELIVES_SERVER."
	}
	return fmt.Sprintf("Is it running there (systemctl status ninelives-server)? The address is from %s.", a.conn.serverFrom)
}

func (a *app) problemText(p *api.Problem) string {
	var b strings.Builder
	b.WriteString(p.Detail)
	for _, m := range p.Mistakes {
		b.WriteString("\n" + mistakeText(m))
	}
	switch {
	case p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden:
		b.WriteString("\n" + a.tokenAdvice())
	case p.Leader != "":
		b.WriteString("\n" + leaderAdvice(p))
	case p.Do != "":
		b.WriteString("\nWhat to do: " + p.Do)
	}
	return b.String()
}

// leaderAdvice says where to ask: an address that could have been followed was.
func leaderAdvice(p *api.Problem) string {
	if p.LeaderURL == "" {
		return fmt.Sprintf("Ask the leader: --server with the address of %s's API (listen.api in its server.yaml).", p.Leader)
	}
	return fmt.Sprintf("Ask the leader: its API is at %s, which can't be reached from here. Run this on %s, or give its address with --server.", p.LeaderURL, p.Leader)
}

func (a *app) tokenAdvice() string {
	switch {
	case a.conn.tokenFrom == "":
		return fmt.Sprintf("No token was sent. It lies in %s on each server (readable by root and the daemon): --token-file FILE, or NINELIVES_TOKEN.", defaultTokenFile)
	default:
		return fmt.Sprintf("The token is from %s. Is it this server's admin.token (in its data directory)?", a.conn.tokenFrom)
	}
}

func mistakeText(m api.Mistake) string {
	text := m.Message
	switch {
	case m.Path != "" && m.Line > 0:
		text = fmt.Sprintf("%s:%d:%d: %s", m.Path, m.Line, m.Column, m.Message)
	case m.Path != "":
		text = m.Path + ": " + m.Message
	case m.Line > 0:
		text = fmt.Sprintf("line %d, column %d: %s", m.Line, m.Column, m.Message)
	}
	if m.Hint != "" {
		text += ", " + m.Hint
	}
	if m.Snippet != "" {
		text += "\n" + m.Snippet
	}
	return text
}
