package fence

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Times of an OffLevel, unless the caller gives others.
const (
	// DefaultOffTimeout: BMCs are seen to report the old state for 30 s and more.
	DefaultOffTimeout = 60 * time.Second
	// MinGap is the least time between the two readings that prove off, and the
	// default: a BMC that is asked twice at once answers from one cache.
	MinGap = time.Second
	// DefaultReadEvery is how long to wait between two readings that prove
	// nothing yet.
	DefaultReadEvery = 500 * time.Millisecond
)

// OffOptions are the times of an OffLevel; zero values take the defaults.
type OffOptions struct {
	// OffTimeout bounds the whole: command, reading back, and waiting.
	OffTimeout time.Duration
	// Gap between the proving readings; less than MinGap is raised to MinGap.
	Gap time.Duration
	// ReadEvery is the pause between rounds of reading.
	ReadEvery time.Duration
	// Renew obtains a fresh permit, by committing a fresh intent. It is asked
	// for a device that had to wait for its turn behind another one of the same
	// controller (most PDUs allow one login), when the first permit would be too
	// old. Nil: the first permit is used, and refuses by itself.
	Renew func(ctx context.Context) (Permit, error)
}

func (o OffOptions) withDefaults() OffOptions {
	if o.OffTimeout <= 0 {
		o.OffTimeout = DefaultOffTimeout
	}
	o.Gap = max(o.Gap, MinGap)
	if o.ReadEvery <= 0 {
		o.ReadEvery = DefaultReadEvery
	}
	return o
}

// Outcome is what became of one attempt to switch a level off.
type Outcome struct {
	// Proven: every device was sent off, and afterwards read off twice, at
	// least the gap apart, without reading on in between, and all of them read
	// off in the same last round.
	Proven bool `json:"proven"`
	// At is when the last of the proving readings was there: what ran on the
	// machine ended before. Zero unless proven.
	At time.Time `json:"at,omitzero"`
	// Why says in words why it isn't proven; empty if it is.
	Why     string          `json:"why,omitempty"`
	Devices []DeviceOutcome `json:"devices"`
}

// DeviceOutcome is one device's part of an Outcome.
type DeviceOutcome struct {
	Device string `json:"device"`
	Via    string `json:"via"`
	// Sent: the off command left, or may have left. Such a device has to be
	// switched on again one day, whatever else happened.
	Sent   bool      `json:"sent"`
	SentAt time.Time `json:"sent_at,omitzero"`
	// Accepted: the device said yes. That isn't off.
	Accepted bool `json:"accepted"`
	// Err is the answer to the command, in words; an "already off" ends here
	// too and does no harm when the readings say off.
	Err string `json:"err,omitempty"`
	// Readings are the changes of state that were seen, and the last reading.
	// Runs of the same state keep their first and their last reading.
	Readings []Reading `json:"readings"`
	// Off: this device's own readings prove off.
	Off bool `json:"off"`
}

// OffLevel switches all devices of one level off and reads them back.
//
// Off is sent once to each device, even to one that reads off already, so that
// it stays off; nothing is ever sent again by OffLevel: the caller may repeat
// the level with a fresh permit. A command that failed or wasn't answered is
// neither success nor failure, the readings decide. But a device to which
// nothing was sent (ErrNotSent) proves nothing, whatever it reads: then the
// level ends after one reading of each device.
//
// It returns within OffTimeout and one timeout of a driver. It doesn't return
// an error: every trouble is in the Outcome, for the record.
func OffLevel(ctx context.Context, devices []Device, permit Permit, opts OffOptions) Outcome {
	opts = opts.withDefaults()
	out := Outcome{Devices: make([]DeviceOutcome, len(devices))}
	if len(devices) == 0 {
		out.Why = "the level has no devices"
		return out
	}
	ctx, cancel := context.WithTimeout(ctx, opts.OffTimeout)
	defer cancel()

	sendOff(ctx, devices, permit, opts.Renew, out.Devices)
	allSent := true
	for _, d := range out.Devices {
		allSent = allSent && d.Sent
	}
	streaks := make([]streak, len(devices))
	for {
		wait := readRound(ctx, devices, out.Devices, streaks, opts)
		if !allSent || conclude(&out) || !sleep(ctx, wait) {
			break
		}
	}
	if !out.Proven {
		out.Why = why(out.Devices, ctx.Err())
	}
	return out
}

// sendOff sends off to all devices: side by side, but one after the other where
// they share a controller.
func sendOff(ctx context.Context, devices []Device, permit Permit, renew func(context.Context) (Permit, error), out []DeviceOutcome) {
	queues := map[string][]int{}
	for i, dev := range devices {
		out[i] = DeviceOutcome{Device: dev.ID(), Via: dev.Via()}
		queues[dev.Via()] = append(queues[dev.Via()], i)
	}
	var wg sync.WaitGroup
	for _, queue := range queues {
		wg.Go(func() {
			for n, i := range queue {
				p := permit
				if n > 0 && renew != nil {
					fresh, err := renew(ctx)
					if err != nil {
						out[i].Err = fmt.Sprintf("no fresh permit: %v", err)
						continue
					}
					p = fresh
				}
				sendOne(ctx, devices[i], p, &out[i])
			}
		})
	}
	wg.Wait()
}

func sendOne(ctx context.Context, dev Device, permit Permit, out *DeviceOutcome) {
	err := dev.Off(ctx, permit)
	out.Sent = !errors.Is(err, ErrNotSent)
	out.Accepted = err == nil
	if out.Sent {
		out.SentAt = time.Now()
	}
	if err != nil {
		out.Err = err.Error()
	}
}

// streak is a device's run of off readings. An unknown in between doesn't end
// it (silence is neither on nor off), an on does.
type streak struct {
	since time.Time // when the first off of the run was there; zero: no run
}

// readRound reads all devices side by side and says how long to wait before the
// next round.
func readRound(ctx context.Context, devices []Device, out []DeviceOutcome, streaks []streak, opts OffOptions) time.Duration {
	var wg sync.WaitGroup
	readings := make([]Reading, len(devices))
	for i, dev := range devices {
		wg.Go(func() { readings[i] = Read(ctx, dev) })
	}
	wg.Wait()
	wait, allOff := time.Duration(0), true
	for i, r := range readings {
		if r.State == StateUnknown && ctx.Err() != nil {
			allOff = false
			continue // cut off by our own end: that says nothing about the device
		}
		out[i].Readings = appendRun(out[i].Readings, r)
		out[i].Off = false
		switch r.State {
		case StateOn:
			streaks[i].since, allOff = time.Time{}, false
		case StateOff:
			if streaks[i].since.IsZero() {
				streaks[i].since = r.At
			}
			out[i].Off = out[i].Sent && r.Began.Sub(streaks[i].since) >= opts.Gap
			if !out[i].Off {
				wait = max(wait, opts.Gap-time.Since(streaks[i].since))
			}
		default:
			allOff = false
		}
	}
	if allOff {
		return wait
	}
	return opts.ReadEvery
}

// appendRun keeps the first and the last reading of a run of one state: what a
// record needs, and bounded however long a fence takes.
func appendRun(all []Reading, r Reading) []Reading {
	if n := len(all); n >= 2 && all[n-1].State == r.State && all[n-2].State == r.State {
		all[n-1] = r
		return all
	}
	return append(all, r)
}

// conclude looks whether the round just read proves the level.
func conclude(out *Outcome) bool {
	var last time.Time
	for _, d := range out.Devices {
		if !d.Off {
			return false
		}
		if r := d.Readings[len(d.Readings)-1]; r.At.After(last) {
			last = r.At
		}
	}
	out.Proven, out.At = true, last
	return true
}

// why says in words what the first device that isn't off did.
func why(devices []DeviceOutcome, ended error) string {
	for _, d := range devices {
		if !d.Sent {
			return fmt.Sprintf("%s: off was not sent: %s", d.Device, d.Err)
		}
	}
	for _, d := range devices {
		if !d.Off {
			return deviceWhy(d) + cancelled(ended)
		}
	}
	return "the devices were not off at the same time" + cancelled(ended)
}

func deviceWhy(d DeviceOutcome) string {
	answer := "off was accepted"
	if !d.Accepted {
		answer = "off was sent and answered: " + d.Err
	}
	if len(d.Readings) == 0 {
		return fmt.Sprintf("%s: %s; never read back", d.Device, answer)
	}
	last := d.Readings[len(d.Readings)-1]
	switch last.State {
	case StateOn:
		return fmt.Sprintf("%s: %s; still reads on", d.Device, answer)
	case StateOff:
		return fmt.Sprintf("%s: %s; read off, but not long enough", d.Device, answer)
	}
	if last.Err == "" {
		return fmt.Sprintf("%s: %s; power is neither on nor off", d.Device, answer)
	}
	return fmt.Sprintf("%s: %s; %s", d.Device, answer, last.Err)
}

func cancelled(err error) string {
	if errors.Is(err, context.Canceled) {
		return " (given up by the caller)"
	}
	return ""
}
