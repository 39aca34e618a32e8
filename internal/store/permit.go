package store

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Clock is where permits read their time. Both are needed: the time since boot
// goes on while the machine sleeps but stands still in a paused virtual machine;
// there the wall clock is what jumps when it is corrected.
type Clock interface {
	// Boot is the time since boot, suspended time included (CLOCK_BOOTTIME).
	Boot() (time.Duration, error)
	// Wall is the wall clock.
	Wall() time.Time
}

// SystemClock is the machine's clock.
type SystemClock struct{}

// Boot reads CLOCK_BOOTTIME.
func (SystemClock) Boot() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("cannot read CLOCK_BOOTTIME: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// Wall is the wall clock, without Go's monotonic reading: a jump must show.
func (SystemClock) Wall() time.Time { return time.Now().Round(0) }

// DefaultPermit is how long a permit is good if nothing shortens it.
const DefaultPermit = 2 * time.Second

// PermitFor is how long permits are good in a cluster with this many servers and
// this election timeout.
//
// Followers that acknowledged the intent's commit have heard of the leader after
// the commit began, and vote for nobody else within one election timeout of that.
// Half of it leaves the other half for clocks that run differently and for the
// way from the check to the wire. A single server has no rival, only
// DefaultPermit counts.
func PermitFor(servers int, election time.Duration) time.Duration {
	if servers <= 1 {
		return DefaultPermit
	}
	return min(DefaultPermit, election/2)
}

// LeasePermit is how long permits are good where leadership is a claim under a lease
// of this length in an external etcd, and how long after a renewal was begun the lease
// is relied on.
//
// etcd counts the lease from when it took the renewal, which is after that was begun,
// and lets nobody else claim before it has ended; when etcd's own leader changes it
// only ever lasts longer. A sixth of it is left for clocks that run differently and
// for the way from the check to the wire. A leader that is paused, or cut off from
// etcd, finds its last renewal too old by its own clocks when it wakes up, whatever
// it then believes; that is asked at each check of a permit, besides the permit's own
// age. So half the lease for a permit is no more than the usual bound: an intent
// should be young.
func LeasePermit(ttl time.Duration) (permit, good time.Duration) {
	return min(DefaultPermit, ttl/2), ttl * 5 / 6
}

// begin starts a permit; leads is asked at each Check whether the leadership still holds.
func begin(clock Clock, validFor time.Duration, leads func() error) (Permit, error) {
	boot, err := clock.Boot()
	if err != nil {
		return Permit{}, fmt.Errorf("cannot begin a permit: %w", err)
	}
	return Permit{clock: clock, leads: leads, boot: boot, wall: clock.Wall(), validFor: validFor}, nil
}

// Check is nil as long as the act may be sent; to be called as the very last
// thing before the bytes leave. Errors: ErrExpired (also when a clock went
// backwards or can't be read: then the age is unknown), ErrDeposed.
func (p Permit) Check() error {
	if p.clock == nil {
		return errors.Join(ErrExpired, errors.New("nothing was ever permitted"))
	}
	if err := p.leads(); err != nil {
		return fmt.Errorf("permit is void: %w", err)
	}
	boot, err := p.clock.Boot()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrExpired, err)
	}
	if err := p.tooOld("time since boot", boot-p.boot); err != nil {
		return err
	}
	return p.tooOld("wall clock", p.clock.Wall().Sub(p.wall))
}

func (p Permit) tooOld(clock string, age time.Duration) error {
	switch {
	case age < 0:
		return fmt.Errorf("%w: the %s went back by %v since the intent was written", ErrExpired, clock, -age)
	case age >= p.validFor:
		return fmt.Errorf("%w: the intent was written %v ago by the %s, allowed are %v", ErrExpired, age.Round(time.Millisecond), clock, p.validFor)
	}
	return nil
}
