package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	killPoll  = 20 * time.Millisecond
	killAgain = 8 // rounds: a QEMU that libvirt starts anew while we look is killed as well
)

// kill ends all QEMU processes of a VM and waits until they are gone. See Machine.Kill.
func (t *table) kill(ctx context.Context, vm string) (int, error) {
	killed := 0
	for range killAgain {
		list, err := t.guests(true)
		list = slices.DeleteFunc(list, func(g Guest) bool { return g.UUID != vm })
		if len(list) == 0 {
			if err != nil {
				return killed, fmt.Errorf("cannot tell whether %s still runs: %w", vm, err)
			}
			return killed, nil
		}
		for _, g := range list {
			if err := t.end(ctx, g); err != nil {
				return killed, err
			}
			killed++
		}
	}
	return killed, fmt.Errorf("%s is started again and again", vm)
}

// end kills one process. The descriptor is taken first and the process looked at after: the signal can't hit another
// one that got its number.
func (t *table) end(ctx context.Context, g Guest) error {
	fd, err := unix.PidfdOpen(g.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot end QEMU %d of %s: %w", g.PID, g.UUID, err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is written to it
	if !t.stillThere(g) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot end QEMU %d of %s: %w", g.PID, g.UUID, err)
	}
	tick := time.NewTicker(killPoll)
	defer tick.Stop()
	for t.stillThere(g) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("QEMU %d of %s was killed but is not gone (it may wait for its disk): %w", g.PID, g.UUID, ctx.Err())
		}
	}
	return nil
}

// stillThere: a zombie of one thread is gone, since it has closed its disks.
func (t *table) stillThere(g Guest) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.known[g.PID]
	if p == nil {
		p = &process{qemu: true, guest: g}
	}
	if err := t.read(g.PID, p); err != nil {
		return !gone(err)
	}
	if !p.qemu || p.guest.UUID != g.UUID {
		return p.doubt != nil
	}
	st, err := t.stat(g.PID)
	return err != nil && !gone(err) || err == nil && !st.empty()
}
