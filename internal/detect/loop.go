package detect

import "time"

// TickEvery is how often a server lets time pass for its Detector.
const TickEvery = 50 * time.Millisecond

// Loop measures how late the loop runs that gives a Detector its Ticks. The caller asks before every observation, not
// only before a Tick: after a pause any goroutine may be the first to run, and what it brings (a probe without an
// answer, while the host's pulses still wait to be read) would be judged as if the pause had been listened to.
type Loop struct{ last time.Time }

// Late is how late the loop is at now; zero or less means in time. What it reports is not reported again.
func (l *Loop) Late(now time.Time) time.Duration {
	late := now.Sub(l.last) - TickEvery
	if l.last.IsZero() || late <= TickEvery {
		return 0
	}
	l.last = now
	return late
}

// Ticked notes that the loop has come round.
func (l *Loop) Ticked(now time.Time) { l.last = now }
