package agents_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/fence/agents"
)

const password = "pdu-s3cret"

// install makes a directory with the test agent in it, whose metadata went
// through edit.
func install(t *testing.T, edit func(string) string) string {
	t.Helper()
	dir := t.TempDir()
	script, err := os.ReadFile("testdata/fence_test")
	if err != nil {
		t.Fatal(err)
	}
	meta, err := os.ReadFile("testdata/metadata_power.xml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(meta)
	if edit != nil {
		if text = edit(text); text == string(meta) {
			t.Fatal("the edit changed nothing")
		}
	}
	write(t, filepath.Join(dir, "fence_test"), string(script), 0o755)
	write(t, filepath.Join(dir, "metadata.xml"), text, 0o644)
	write(t, filepath.Join(dir, "pass"), password+"\n", 0o600)
	return dir
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

func spec(dir, mode string) fence.Spec {
	s := fence.Spec{Driver: fence.DriverAgent, Agent: "fence_test", Options: map[string]string{
		"ip": "pdu1", "port": "x", "plug": "4", "username": "u", "password_file": filepath.Join(dir, "pass"),
	}}
	if mode != "" {
		s.Options["mode"] = mode
	}
	return s
}

func open(t *testing.T, dir, mode string, timeout time.Duration) fence.Device {
	t.Helper()
	drivers := fence.Drivers{fence.DriverAgent: agents.New(dir).Open}
	dev, err := drivers.Open(spec(dir, mode), fence.Options{Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func granted() error { return nil }

func TestOffIsReadBack(t *testing.T) {
	t.Setenv("OTHER_SECRET", "not for agents")
	dir := install(t, nil)
	dev := open(t, dir, "", 0)
	for _, step := range []struct {
		send func(context.Context, fence.Permit) error
		want fence.State
	}{{nil, fence.StateOn}, {dev.Off, fence.StateOff}, {dev.Off, fence.StateOff}, {dev.On, fence.StateOn}} {
		if step.send != nil {
			if err := step.send(t.Context(), granted); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := dev.Power(t.Context()); got != step.want || err != nil {
			t.Errorf("power %s, %v; want %s", got, err, step.want)
		}
	}
	log := read(t, filepath.Join(dir, "log"))
	if strings.Contains(log, password) || strings.Contains(log, "not for agents") {
		t.Errorf("a secret is in the agent's environment:\n%s", log)
	}
	if !strings.Contains(log, "action=off plug=4 method=onoff arguments=0") {
		t.Errorf("the agent got no method=onoff, or arguments:\n%s", log)
	}
}

func TestOnlyAProvenStateIsBelieved(t *testing.T) {
	for mode, want := range map[string]string{
		"badargs":     "exit code 2: ERROR: Failed: You have to enter plug number",
		"unproven-on": "exit code 0",
		"denied":      "login refused by the device: ERROR:root:Unable to connect/login with ***",
		"babble":      "",
	} {
		t.Run(mode, func(t *testing.T) {
			dev := open(t, install(t, nil), mode, 0)
			state, err := dev.Power(t.Context())
			if state != fence.StateUnknown || err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("power %s, %v; want unknown, %q", state, err, want)
			}
			if err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}

func TestHangingAgentIsKilledWithItsChildren(t *testing.T) {
	dir := install(t, nil)
	fifo := filepath.Join(dir, "alive")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	alive, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = alive.Close() }()
	dev := open(t, dir, "silent", 100*time.Millisecond)
	began := time.Now()
	err = dev.Off(t.Context(), granted)
	if !errors.Is(err, fence.ErrUnreachable) || errors.Is(err, fence.ErrNotSent) {
		t.Errorf("Off: %v, want no answer; it may have been sent", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("Off took %v", took)
	}
	// The pipe ends when the last process that could write to it is gone.
	if err := alive.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if said, err := io.ReadAll(alive); err != nil || len(said) == 0 {
		t.Errorf("the agent's child lives, or never did: %q, %v", said, err)
	}
}

func TestNoPermitNoStart(t *testing.T) {
	dir := install(t, nil)
	dev := open(t, dir, "", 0)
	expired := errors.New("too old")
	err := dev.Off(t.Context(), func() error { return expired })
	if !errors.Is(err, expired) || !errors.Is(err, fence.ErrNotSent) || !errors.Is(err, fence.ErrNoPermit) {
		t.Errorf("Off: %v", err)
	}
	if log := read(t, filepath.Join(dir, "log")); log != "" {
		t.Errorf("the agent was started: %s", log)
	}
}

func TestLyingAgentProvesNothing(t *testing.T) {
	dev := open(t, install(t, nil), "liar", 0)
	out := fence.OffLevel(t.Context(), []fence.Device{dev}, granted, fence.OffOptions{OffTimeout: 500 * time.Millisecond, ReadEvery: 100 * time.Millisecond})
	if out.Proven || !out.Devices[0].Accepted || !strings.Contains(out.Why, "still reads on") {
		t.Errorf("outcome %+v", out)
	}
}

func TestVet(t *testing.T) {
	replace := func(from, to string) func(string) string {
		return func(s string) string { return strings.Replace(s, from, to, 1) }
	}
	tests := []struct {
		name    string
		edit    func(string) string
		options map[string]string
		want    string
	}{
		{"good", nil, nil, ""},
		{"no status", replace(`<action name="status" />`, ""), nil, "no action status"},
		{"no on", replace(`<action name="on" automatic="0"/>`, ""), nil, "no action on"},
		{"fabric", replace(`automatic="0"`, `automatic="1"`), nil, "fabric agent"},
		{"on target", replace(`<action name="off" />`, `<action name="off" on_target="1"/>`), nil, "runs on the machine itself"},
		{"cycle only", replace(`<option value="onoff" />`, ""), nil, "only cycle"},
		{"not XML", replace("<actions>", "<act"), nil, "makes no sense"},
		{"misspelt option", nil, map[string]string{"plgu": "4"}, `no option "plgu", did you mean "plug"?`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := install(t, tt.edit)
			s := spec(dir, "")
			for k, v := range tt.options {
				s.Options[k] = v
			}
			err := agents.New(dir).Vet(t.Context(), s)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Vet: %v, want %q", err, tt.want)
			}
		})
	}
}

func TestCheckOfAMissingAgent(t *testing.T) {
	h := open(t, t.TempDir(), "", 0).Check(t.Context())
	if h.OK() || !strings.Contains(h.Trouble(), "fence_test: not installed in") {
		t.Errorf("trouble %q", h.Trouble())
	}
}

func TestCheckOfAGoodAgent(t *testing.T) {
	h := open(t, install(t, nil), "", 0).Check(t.Context())
	if !h.OK() || h.State != fence.StateOn || h.Identity.Grade != fence.GradeNone {
		t.Errorf("health %+v", h)
	}
}
