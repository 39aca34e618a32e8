package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

const (
	// youngFor is how long a process that is no QEMU is looked at again and again: libvirt's child becomes QEMU by
	// exec, after its parent has set up what it needs.
	youngFor = 15 * time.Second
	// rereadAll is how often everything is read anew, for a process that became QEMU later than that.
	rereadAll = 10 * time.Second
	// cmdlineMost bounds what is read of a command line; libvirt's have some 10 KiB.
	cmdlineMost = 256 << 10
)

// process is what is remembered of a pid.
type process struct {
	first time.Time // when it was seen first
	qemu  bool
	guest Guest
	start uint64 // of a QEMU; see stat
	nova  bool   // nova-compute
	doubt error
	seen  uint64 // number of the last scan that saw it
}

// table reads the process table. Between full readings only new and young processes, and QEMUs, are read.
type table struct {
	proc string
	now  func() time.Time

	mu    sync.Mutex
	known map[int]*process
	full  time.Time
	scans uint64
	buf   []byte
	nova  bool
}

func newTable(proc string) *table {
	return &table{proc: proc, now: time.Now, known: map[int]*process{}, buf: make([]byte, 16<<10)}
}

// guests lists the QEMU processes; see Machine.
func (t *table) guests(fresh bool) ([]Guest, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	pids, err := t.pids()
	if err != nil {
		return nil, fmt.Errorf("cannot read the process table: %w", err)
	}
	at := t.now()
	all := fresh || at.Sub(t.full) >= rereadAll || at.Before(t.full)
	if all {
		t.full = at
	}
	t.scans++
	t.nova = false
	var list []Guest
	var doubts []error
	for _, pid := range pids {
		p := t.look(pid, at, all)
		if p == nil {
			continue
		}
		p.seen = t.scans
		t.nova = t.nova || p.nova
		if p.doubt != nil {
			doubts = append(doubts, p.doubt)
		} else if p.qemu {
			list = append(list, p.guest)
		}
	}
	for pid, p := range t.known {
		if p.seen != t.scans {
			delete(t.known, pid)
		}
	}
	return list, errors.Join(doubts...)
}

// novaCompute is true if the last scan saw a nova-compute.
func (t *table) novaCompute() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nova
}

func (t *table) pids() ([]int, error) {
	d, err := os.Open(t.proc)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, n := range names {
		if n[0] >= '1' && n[0] <= '9' {
			if pid, err := strconv.Atoi(n); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	// /proc is read in portions, in the order of pids: a process that is there all the time is never missed. But an
	// empty one is no /proc at all.
	if len(pids) == 0 {
		return nil, fmt.Errorf("%s holds no processes", t.proc)
	}
	return pids, nil
}

// look reads a process as far as need be; nil if it is gone.
func (t *table) look(pid int, at time.Time, all bool) *process {
	p := t.known[pid]
	if p != nil && !all && !p.qemu && p.doubt == nil && at.Sub(p.first) >= youngFor {
		return p
	}
	if p == nil {
		p = &process{first: at}
		t.known[pid] = p
	}
	if p.qemu && !all {
		if st, err := t.stat(pid); err == nil && st.start == p.start && !st.ended() {
			return p
		}
	}
	if err := t.read(pid, p); gone(err) {
		return nil
	} else if err != nil {
		p.doubt = fmt.Errorf("cannot tell what process %d is: %w", pid, err)
	}
	return p
}

// gone: the process ended, perhaps between open and read.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

func (t *table) read(pid int, p *process) error {
	before := *p
	p.qemu, p.nova, p.doubt, p.guest = false, false, nil, Guest{}
	line, err := t.file(pid, "cmdline")
	if err != nil {
		return err
	}
	if len(line) == 0 { // a kernel thread, or a process that is ending
		return t.ending(pid, p, before)
	}
	args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	if base := filepath.Base(args[0]); !strings.HasPrefix(base, "qemu") && !strings.HasPrefix(base, "kvm") {
		p.nova = novaCompute(args)
		return nil
	}
	id, libvirts := uuidOf(args)
	if id == "" {
		if libvirts {
			p.doubt = fmt.Errorf("process %d is a libvirt guest without a uuid", pid)
		}
		return nil // qemu-img, qemu-nbd, somebody's own
	}
	p.qemu = true
	p.guest = Guest{UUID: id, PID: pid, State: agentv1.GuestState_GUEST_STATE_RUNNING}
	st, err := t.stat(pid)
	if err != nil {
		return err
	}
	p.start = st.start
	if st.ended() {
		p.guest.State = agentv1.GuestState_GUEST_STATE_EXITING
	}
	return nil
}

// ending judges a process without a command line. A QEMU that ends gives its memory, and with it the command line,
// back first, and its open disks after. It is the remembered guest until it is gone; one that was never seen alive may
// be anybody's.
func (t *table) ending(pid int, p *process, before process) error {
	st, err := t.stat(pid)
	if err != nil {
		return err
	}
	switch {
	case before.qemu && before.start == st.start:
		p.qemu, p.guest, p.start = true, before.guest, st.start
		p.guest.State = agentv1.GuestState_GUEST_STATE_EXITING
	case (strings.HasPrefix(st.name, "qemu-system") || st.name == "qemu-kvm") && !st.empty():
		p.doubt = fmt.Errorf("process %d is a QEMU that is ending, of which VM can't be told", pid)
	}
	return nil
}

// uuidOf finds the VM among a QEMU's arguments; libvirts is true if libvirt named the guest.
func uuidOf(args []string) (id string, libvirts bool) {
	for i, arg := range args[:len(args)-1] {
		switch value := args[i+1]; arg {
		case "-uuid", "--uuid":
			if u, ok := normalUUID(value); ok {
				id = u
			}
		case "-name", "--name":
			libvirts = libvirts || strings.HasPrefix(value, "guest=")
		}
	}
	return id, libvirts
}

// novaCompute: Python programs are their interpreter's argument.
func novaCompute(args []string) bool {
	for i, arg := range args {
		if i < 3 && filepath.Base(arg) == "nova-compute" {
			return true
		}
	}
	return false
}

// file reads a process's file into the table's buffer.
func (t *table) file(pid int, name string) ([]byte, error) {
	f, err := os.Open(t.proc + "/" + strconv.Itoa(pid) + "/" + name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n := 0
	for {
		m, err := f.Read(t.buf[n:])
		n += m
		switch {
		case errors.Is(err, io.EOF):
			return t.buf[:n], nil
		case err != nil:
			return nil, err
		case n == len(t.buf) && n >= cmdlineMost:
			return nil, fmt.Errorf("its %s is longer than %d KiB", name, cmdlineMost>>10)
		case n == len(t.buf):
			t.buf = append(t.buf, make([]byte, len(t.buf))...)
		}
	}
}

// stat is what /proc/pid/stat tells (proc(5)).
type stat struct {
	state   byte
	name    string // at most 15 characters
	threads int
	start   uint64 // clock ticks after boot; with the pid it names one process
}

// stat reads it. The name stands in the outermost brackets and may hold any character.
func (t *table) stat(pid int) (stat, error) {
	b, err := t.file(pid, "stat")
	if err != nil {
		return stat{}, err
	}
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("unexpected stat %q", b)
	}
	s := stat{name: string(b[open+1 : end])}
	field := 3
	for f := range bytes.FieldsSeq(b[end+1:]) {
		switch field {
		case 3:
			s.state = f[0]
		case 20:
			s.threads, err = strconv.Atoi(string(f))
		case 22:
			s.start, err = strconv.ParseUint(string(f), 10, 64)
		}
		if err != nil {
			break
		}
		field++
	}
	if err != nil || field <= 22 || s.state < 'A' {
		return stat{}, fmt.Errorf("unexpected stat %q", b)
	}
	return s, nil
}

func (s stat) ended() bool { return s.state == 'Z' || s.state == 'X' || s.state == 'x' }

// empty: it has closed its files. A task does so before it becomes a zombie; other threads may still be about it.
func (s stat) empty() bool { return s.ended() && s.threads <= 1 }
