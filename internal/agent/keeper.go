package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// lockPatience bounds the wait for another writer of the gate's file, who writes one small file.
const lockPatience = 5 * time.Second

const (
	gateFile    = "gate.json"
	gateLock    = "gate.lock"
	dataLock    = "agent.lock"
	waitingFile = "gate.waiting" // why the gate is closed, for `ninelives gate`
)

// keeper holds the gate's record for the running agent. The file is the truth: `ninelives gate --open` writes it too.
type keeper struct {
	dir, boot string
	log       *slog.Logger
	up        func() time.Duration // since the boot

	mu   sync.Mutex
	rec  gateRecord
	seen os.FileInfo        // the file that rec was read from
	err  error              // why the record could not be read or stored; the gate counts as closed meanwhile
	due  *agentv1.GateOrder // one that the disk refused, to be tried again
	said string             // what waitingFile holds
}

func newKeeper(dir, boot string, log *slog.Logger) *keeper {
	return &keeper{dir: dir, boot: boot, log: log, up: sinceBoot, rec: gateRecord{}.forBoot(boot)}
}

// begin takes up the record of this boot, or closes the gate of a new one. Trouble with the disk doesn't keep the agent
// from pulsing; it keeps the gate closed.
func (k *keeper) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.change(same); err != nil {
		k.log.Error("the gate's record can't be stored; the gate counts as closed", "error", err)
	}
}

func same(g gateRecord) (gateRecord, error) { return g, nil }

// change stores what f makes of the record on disk, in this boot. k.mu must be held.
func (k *keeper) change(f func(gateRecord) (gateRecord, error)) error {
	rec, info, err := changeGate(k.dir, k.rec, f)
	var refused *refusedError
	switch {
	case errors.As(err, &refused):
		return refused.err
	case err != nil:
		k.err = err
		return err
	}
	k.rec, k.seen, k.err = rec, info, nil
	return nil
}

// obey carries out a server's order. changed is false for an order that is in force already. One that the disk refuses
// is tried again by refresh.
func (k *keeper) obey(o *agentv1.GateOrder) (changed bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.carryOut(o)
}

// carryOut is obey with k.mu held.
func (k *keeper) carryOut(o *agentv1.GateOrder) (changed bool, err error) {
	k.due = nil
	err = k.change(func(g gateRecord) (gateRecord, error) { return g.obey(o, k.up()) })
	if errors.Is(err, errStaleGate) {
		return false, nil
	}
	if err != nil && err == k.err { //nolint:errorlint // this very error: the disk's, not a refusal
		k.due = o
	}
	return err == nil, err
}

// refresh takes notice of what an operator did, and tries again what the disk refused.
func (k *keeper) refresh() {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := os.Stat(dataFile(k.dir, gateFile))
	if err == nil && k.err == nil && k.seen != nil && os.SameFile(info, k.seen) && info.ModTime().Equal(k.seen.ModTime()) {
		return
	}
	before := k.err
	if o := k.due; o != nil {
		_, err = k.carryOut(o)
	} else {
		err = k.change(same)
	}
	switch {
	case err != nil && before == nil:
		k.log.Error("the gate's record can't be read or stored; the gate counts as closed", "error", err)
	case err == nil && before != nil:
		k.log.Info("the gate's record can be stored again", "open", k.rec.Open, "generation", k.rec.Generation)
	}
}

// hunted are the VMs to be killed here, also those of an order that the disk refused.
func (k *keeper) hunted() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.rec.hunted(k.up())
	if k.due != nil {
		if next, err := k.rec.obey(k.due, k.up()); err == nil {
			list = next.hunted(k.up())
		}
	}
	return list
}

func sameGate(a, b gateRecord) bool {
	return a.Boot == b.Boot && a.Open == b.Open && a.ByHand == b.ByHand && a.Reason == b.Reason && a.Generation == b.Generation &&
		slices.Equal(a.Forbidden, b.Forbidden)
}

// current is the record; closed with its reason while the disk has trouble.
func (k *keeper) current() gateRecord {
	k.mu.Lock()
	defer k.mu.Unlock()
	g := k.rec
	if k.err != nil {
		g.Open, g.Reason = false, k.err.Error()
	}
	return g
}

// explain leaves word for `ninelives gate` why the gate is closed; "" when it is open.
func (k *keeper) explain(why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if why == k.said {
		return
	}
	file := dataFile(k.dir, waitingFile)
	err := error(nil)
	if why == "" {
		if err = os.Remove(file); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = replaceFile(file, []byte(why+"\n"))
	}
	if err != nil {
		k.log.Warn("cannot say why the gate is closed", "error", err)
		return
	}
	k.said = why
}

// refusedError tells a change that was refused from a disk that failed.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }

// readGate reads the record in dir. fs.ErrNotExist if there is none.
func readGate(dir string) (gateRecord, error) {
	text, err := os.ReadFile(dataFile(dir, gateFile))
	if err != nil {
		return gateRecord{}, err
	}
	return parseGate(text)
}

// changeGate reads, changes and stores the record of known's boot while nobody else does. What is returned is on the
// disk. A damaged file is put aside and known taken instead: a closed gate, if its caller knows nothing.
func changeGate(dir string, known gateRecord, f func(gateRecord) (gateRecord, error)) (gateRecord, os.FileInfo, error) {
	release, err := lockFile(dataFile(dir, gateLock), unix.LOCK_EX, lockPatience)
	if err != nil {
		return gateRecord{}, nil, fmt.Errorf("cannot change the gate: %w", err)
	}
	defer release() //nolint:errcheck // the lock goes with the descriptor
	stored, err := readGate(dir)
	switch {
	case errors.Is(err, errDamaged):
		stored = known
		if err := os.Rename(dataFile(dir, gateFile), dataFile(dir, gateFile+".damaged")); err != nil {
			return gateRecord{}, nil, fmt.Errorf("cannot put the damaged gate's file aside: %w", err)
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return gateRecord{}, nil, fmt.Errorf("cannot read the gate: %w", err)
	}
	next, refused := f(stored.forBoot(known.Boot))
	if refused != nil {
		return gateRecord{}, nil, &refusedError{refused}
	}
	file := dataFile(dir, gateFile)
	if err != nil || !equalGate(stored, next) {
		text, err := json.MarshalIndent(next, "", "  ")
		if err != nil {
			return gateRecord{}, nil, fmt.Errorf("cannot store the gate: %w", err)
		}
		if err := replaceFile(file, append(text, '\n')); err != nil {
			return gateRecord{}, nil, fmt.Errorf("cannot store the gate: %w", err)
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		return gateRecord{}, nil, fmt.Errorf("cannot store the gate: %w", err)
	}
	return next, info, nil
}

func equalGate(a, b gateRecord) bool {
	return sameGate(a, b) && a.Format == b.Format && a.Epoch == b.Epoch && a.Opened == b.Opened
}

// replaceFile writes a file anew at once: after a crash there is the old content or the new, never half of it.
func replaceFile(file string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(filepath.Dir(file)) // the rename must outlive a power cut as well
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lockFile locks a file, which it makes if need be, until release or the end of the process. It waits for another
// holder as long as said, then fails with EWOULDBLOCK.
func lockFile(file string, how int, patience time.Duration) (release func() error, err error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return f.Close, nil
		}
		if busy := errors.Is(err, unix.EINTR) || errors.Is(err, unix.EWOULDBLOCK); !busy || !time.Now().Before(deadline) {
			return nil, errors.Join(fmt.Errorf("cannot lock %s: %w", file, err), f.Close())
		}
	}
}

// lockData keeps a second agent from the data directory.
func lockData(dir string) (release func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot use the data directory: %w", err)
	}
	release, err = lockFile(dataFile(dir, dataLock), unix.LOCK_EX, 200*time.Millisecond) // `ninelives gate` looks in for a moment
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("another agent works in %s already", dir)
	}
	return release, err
}

// agentRuns is true while an agent works in the data directory.
func agentRuns(dir string) bool {
	release, err := lockFile(dataFile(dir, dataLock), unix.LOCK_SH, 0)
	if err != nil {
		return errors.Is(err, unix.EWOULDBLOCK)
	}
	_ = release() // the lock goes with the descriptor
	return false
}
