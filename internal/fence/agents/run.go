package agents

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

// maxOutput bounds what is kept of an agent's output; the largest metadata is
// some 30 KiB.
const maxOutput = 1 << 20

// Exit codes of fencing.py's agents that say more than "failed".
const (
	exitOff       = 2 // of status; the same number means bad arguments
	exitLogin     = 3
	exitPrivilege = 11
)

var exitWords = map[int]string{
	4: "the connection to the device was lost", 5: "the device didn't answer in time",
	6: "the device did not switch on in time", 7: "the device did not switch off in time",
	8: "the device tells no state", 10: "the password is missing",
}

// result is what a finished agent left behind.
type result struct {
	code   int
	stdout string
	stderr string
}

// bounded keeps the first maxOutput bytes and swallows the rest.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxOutput - b.Len(); room > 0 {
		_, _ = b.Buffer.Write(p[:min(room, len(p))]) // a Buffer doesn't fail
	}
	return len(p), nil
}

// run starts the agent without a shell, in a process group of its own, with
// the options on its standard input and next to nothing of our environment
// (which may hold passwords). Before is called as the very last thing before
// the start. When the context ends, the whole group is killed.
func run(ctx context.Context, path string, input string, before func() error) (result, error) {
	cmd := exec.CommandContext(ctx, path)
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "LC_ALL=C", "HOME=" + os.Getenv("HOME"), "PYTHONWARNINGS=ignore"}
	var stdout, stderr bounded
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A child that left the group could keep the pipes open for ever.
	cmd.WaitDelay = time.Second
	if before != nil {
		if err := before(); err != nil {
			return result{}, err
		}
	}
	if err := cmd.Start(); err != nil {
		return result{}, fmt.Errorf("%w: cannot start: %w", fence.ErrNotSent, err)
	}
	err := cmd.Wait()
	// What the agent left running would go on switching.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // mostly there is nobody left
	res := result{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	if ctx.Err() != nil {
		return res, fmt.Errorf("%w from the agent in time, it was killed", fence.ErrUnreachable)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return res, fmt.Errorf("cannot run: %w", err)
	}
	if res.code < 0 {
		return res, errors.New("the agent was ended by a signal")
	}
	return res, nil
}

// input writes the options as an agent reads them: one name=value a line.
func input(action string, meta Metadata, options map[string]string, secrets map[string]fence.Secret) string {
	var b strings.Builder
	fmt.Fprintf(&b, "action=%s\n", action)
	if _, ok := meta.Parameters["method"]; ok {
		b.WriteString("method=onoff\n")
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		fmt.Fprintf(&b, "%s=%s\n", name, options[name])
	}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		fmt.Fprintf(&b, "%s=%s\n", name, secrets[name].Reveal())
	}
	return b.String()
}

// stateOf reads the answer to status. The exit code alone isn't believed: 2
// means off, but also bad arguments, and it is what an interpreter says that
// can't find its script. So the agent must have said the same in words.
func stateOf(res result) (fence.State, bool) {
	said := fence.StateUnknown
	for line := range strings.Lines(res.stdout) {
		switch strings.TrimSpace(line) {
		case "Status: ON":
			said = fence.StateOn
		case "Status: OFF":
			said = fence.StateOff
		}
	}
	if res.code == 0 && said == fence.StateOn || res.code == exitOff && said == fence.StateOff {
		return said, true
	}
	return fence.StateUnknown, false
}

// failure puts a failed run into words, without any secret.
func (r result) failure(secrets map[string]fence.Secret) error {
	words := lastLine(r.stderr)
	for _, s := range secrets {
		if s.Reveal() != "" {
			words = strings.ReplaceAll(words, s.Reveal(), s.String())
		}
	}
	if words == "" {
		words = exitWords[r.code]
	}
	switch {
	case r.code == exitLogin:
		return fmt.Errorf("%w by the device: %s", fence.ErrLogin, words)
	case r.code == exitPrivilege:
		return fmt.Errorf("%w: %s", fence.ErrPrivilege, words)
	case words == "":
		return fmt.Errorf("exit code %d without a word", r.code)
	}
	return fmt.Errorf("exit code %d: %s", r.code, words)
}

// lastLine is the last line that says why: fencing.py ends with a hint to its
// usage, and some lines come twice.
func lastLine(stderr string) string {
	last := ""
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(strings.Map(func(r rune) rune {
			if !unicode.IsPrint(r) {
				return ' '
			}
			return r
		}, line))
		if line != "" && !strings.Contains(line, "use '-h' for usage") {
			last = line
		}
	}
	const most = 200
	if r := []rune(last); len(r) > most {
		last = string(r[:most]) + "…"
	}
	return last
}
