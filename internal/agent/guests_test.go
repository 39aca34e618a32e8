package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// actAsQEMU has this test binary stand in for a QEMU: it lives until its parent is gone or somebody kills it.
const actAsQEMU = "NINELIVES_TEST_QEMU"

func TestMain(m *testing.M) {
	if os.Getenv(actAsQEMU) != "" {
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	goleak.VerifyTestMain(m)
}

// fakeTable is a process table in a directory.
type fakeTable struct {
	t    *testing.T
	proc string
}

func (f fakeTable) put(pid int, state, comm string, threads int, args ...string) {
	f.t.Helper()
	line := ""
	for _, a := range args {
		line += a + "\x00"
	}
	dir := filepath.Join(f.proc, strconv.Itoa(pid))
	write(f.t, filepath.Join(dir, "cmdline"), line, 0o644)
	// proc(5): pid (comm) state, …, field 20 num_threads, 22 starttime.
	write(f.t, filepath.Join(dir, "stat"), fmt.Sprintf("%d (%s) %s 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 %d 0 %d 0 0 1\n", pid, comm, state, threads, 1000+pid), 0o644)
}

func (f fakeTable) gone(pid int) {
	f.t.Helper()
	if err := os.RemoveAll(filepath.Join(f.proc, strconv.Itoa(pid))); err != nil {
		f.t.Fatal(err)
	}
}

func qemuArgs(vm string) []string {
	return []string{"/usr/bin/qemu-system-x86_64", "-name", "guest=instance-0000002a,debug-threads=on", "-S", "-machine", "pc-q35-7.2", "-uuid", vm, "-no-user-config"}
}

func newFakeTable(t *testing.T) (fakeTable, *table, *time.Time) {
	f := fakeTable{t, t.TempDir()}
	tab := newTable(f.proc)
	clock := time.Unix(1000, 0)
	tab.now = func() time.Time { return clock }
	f.put(1, "S", "systemd", 1, "/sbin/init")
	f.put(2, "S", "kthreadd", 1)
	write(t, filepath.Join(f.proc, "uptime"), "1 1\n", 0o644)
	return f, tab, &clock
}

func TestGuestsFromTheProcessTable(t *testing.T) {
	f, tab, _ := newFakeTable(t)
	f.put(100, "S", "qemu-system-x86", 5, qemuArgs(strings.ToUpper(vmA))...)
	f.put(101, "R", "qemu-kvm", 5, "/usr/libexec/qemu-kvm", "-uuid", vmB)
	f.put(102, "S", "qemu-img", 1, "qemu-img", "convert", "a", "b")
	f.put(103, "S", "grep", 1, "grep", "-uuid", vmB) // names a VM and is none
	f.put(104, "S", "nova-compute", 9, "/usr/bin/python3", "/usr/bin/nova-compute", "--config-file=/etc/nova/nova.conf")
	want := []Guest{{vmA, 100, agentv1.GuestState_GUEST_STATE_RUNNING}, {vmB, 101, agentv1.GuestState_GUEST_STATE_RUNNING}}
	for _, fresh := range []bool{true, false} {
		got, err := tab.guests(fresh)
		if d := cmp.Diff(want, byPID(got)); d != "" || err != nil {
			t.Errorf("fresh %t: %v\n%s", fresh, err, d)
		}
	}
	if !tab.novaCompute() {
		t.Error("nova-compute is not seen")
	}
	f.gone(101)
	f.gone(104)
	if got, err := tab.guests(false); len(got) != 1 || err != nil || tab.novaCompute() {
		t.Errorf("after they ended: %v, %v, nova-compute %t", got, err, tab.novaCompute())
	}
}

func byPID(list []Guest) []Guest {
	out := append([]Guest(nil), list...)
	for i := range out {
		for j := i; j > 0 && out[j].PID < out[j-1].PID; j-- {
			out[j], out[j-1] = out[j-1], out[j]
		}
	}
	return out
}

// A QEMU that ends loses its command line first; it is listed until it is gone, since it may still hold its disk.
func TestGuestsThatAreEnding(t *testing.T) {
	f, tab, _ := newFakeTable(t)
	f.put(100, "S", "qemu-system-x86", 5, qemuArgs(vmA)...)
	if _, err := tab.guests(false); err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"D", "Z"} {
		f.put(100, state, "qemu-system-x86", 3)
		for _, fresh := range []bool{true, false} {
			got, err := tab.guests(fresh)
			if len(got) != 1 || err != nil || got[0].UUID != vmA || got[0].State != agentv1.GuestState_GUEST_STATE_EXITING {
				t.Errorf("state %s, fresh %t: %v, %v; want %s exiting", state, fresh, got, err, vmA)
			}
		}
	}
	// Never seen alive: it may be any VM, so the list proves nothing.
	f.put(200, "D", "qemu-system-x86", 2)
	if _, err := tab.guests(false); err == nil || !strings.Contains(err.Error(), "process 200") {
		t.Errorf("an unknown QEMU that is ending: %v", err)
	}
	f.put(200, "Z", "qemu-system-x86", 1) // has closed its files
	if _, err := tab.guests(false); err != nil {
		t.Errorf("a zombie that holds nothing: %v", err)
	}
}

func TestWhatMakesAGuestListIncomplete(t *testing.T) {
	f, tab, _ := newFakeTable(t)
	f.put(300, "S", "qemu-system-x86", 2, "/usr/bin/qemu-system-x86_64", "-name", "guest=odd", "-nographic")
	if _, err := tab.guests(false); err == nil || !strings.Contains(err.Error(), "without a uuid") {
		t.Errorf("a libvirt guest without a uuid: %v", err)
	}
	f.gone(300)
	write(t, filepath.Join(f.proc, "301/cmdline/x"), "", 0o644) // can't be read
	if _, err := tab.guests(false); err == nil || !strings.Contains(err.Error(), "process 301") {
		t.Errorf("a process that can't be read: %v", err)
	}
	f.gone(301)
	if _, err := tab.guests(false); err != nil {
		t.Errorf("after they ended: %v", err)
	}
	for _, proc := range []string{t.TempDir(), "/nonexistent"} {
		if _, err := newTable(proc).guests(true); err == nil {
			t.Errorf("%s was taken for a process table", proc)
		}
	}
}

// libvirt's child becomes QEMU by exec, with the same pid, some time after it was seen first.
func TestGuestsThatExecLate(t *testing.T) {
	for _, tc := range []struct {
		late, after time.Duration
		fresh, want bool
	}{
		{youngFor - time.Second, 0, false, true},
		{youngFor + 5*time.Second, 0, true, true},
		{youngFor + time.Hour, rereadAll, false, true},
	} {
		f, tab, clock := newFakeTable(t)
		f.put(100, "S", "libvirtd", 1, "/usr/sbin/libvirtd")
		for range int(tc.late / time.Second) {
			if _, err := tab.guests(false); err != nil {
				t.Fatal(err)
			}
			*clock = clock.Add(time.Second)
		}
		f.put(100, "S", "qemu-system-x86", 5, qemuArgs(vmA)...)
		*clock = clock.Add(tc.after)
		if got, err := tab.guests(tc.fresh); (len(got) == 1) != tc.want || err != nil {
			t.Errorf("%+v: %v, %v", tc, got, err)
		}
	}
}

// A pid that another process got is another process.
func TestGuestsAndReusedPIDs(t *testing.T) {
	f, tab, _ := newFakeTable(t)
	f.put(100, "S", "qemu-system-x86", 5, qemuArgs(vmA)...)
	if _, err := tab.guests(false); err != nil {
		t.Fatal(err)
	}
	f.put(100, "S", "qemu-system-x86", 5, qemuArgs(vmB)...)
	stat := filepath.Join(f.proc, "100/stat")
	text, err := os.ReadFile(stat)
	if err != nil {
		t.Fatal(err)
	}
	write(t, stat, strings.Replace(string(text), " 1100 ", " 9999 ", 1), 0o644)
	if got, err := tab.guests(false); err != nil || len(got) != 1 || got[0].UUID != vmB {
		t.Errorf("got %v, %v; want %s", got, err, vmB)
	}
}

// startQEMU begins a real process that looks like a QEMU.
func startQEMU(t *testing.T, vm string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: self, Args: qemuArgs(vm), Env: append(os.Environ(), actAsQEMU+"=1")}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reaped := make(chan struct{})
	go func() { defer close(reaped); _ = cmd.Wait() }()
	t.Cleanup(func() { in.Close(); <-reaped })
	return cmd
}

// onlyThese is a proc with nothing but some of this machine's processes.
func onlyThese(t *testing.T, proc string, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if err := os.Symlink("/proc/"+strconv.Itoa(pid), filepath.Join(proc, strconv.Itoa(pid))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKillEndsOneVMOnly(t *testing.T) {
	proc := t.TempDir()
	a1, a2, b := startQEMU(t, vmA), startQEMU(t, vmA), startQEMU(t, vmB)
	onlyThese(t, proc, os.Getpid(), a1.Process.Pid, a2.Process.Pid, b.Process.Pid)
	tab := newTable(proc)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if n, err := tab.kill(ctx, vmA); n != 2 || err != nil {
		t.Errorf("%d ended, %v; want 2", n, err)
	}
	if got, err := tab.guests(true); err != nil || len(got) != 1 || got[0].UUID != vmB {
		t.Errorf("left: %v, %v; want %s alone", got, err, vmB)
	}
	if n, err := tab.kill(ctx, vmA); n != 0 || err != nil {
		t.Errorf("once more: %d, %v", n, err)
	}
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("1 (a) b) S 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 1\n"))
	f.Add([]byte(") ("))
	dir := f.TempDir()
	write(f, filepath.Join(dir, "1/stat"), "", 0o644)
	tab := newTable(dir)
	f.Fuzz(func(t *testing.T, text []byte) {
		write(t, filepath.Join(dir, "1/stat"), string(text), 0o644)
		if s, err := tab.stat(1); err == nil && s.state == 0 {
			t.Errorf("%q gives no state", text)
		}
	})
}
