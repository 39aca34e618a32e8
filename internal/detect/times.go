package detect

import (
	"errors"
	"fmt"
	"time"
)

// Config is what an operator may set, as it stands in server.yaml. Zero means the default.
type Config struct {
	Pulse      time.Duration `yaml:"pulse"`       // default 1s
	DeadAfter  time.Duration `yaml:"dead_after"`  // default 12s; with one valid plane 5/3 of it
	HungAfter  time.Duration `yaml:"hung_after"`  // default 120s
	Leaving    time.Duration `yaml:"leaving"`     // default 5m
	RebootWait time.Duration `yaml:"reboot_wait"` // default 5m
	RequestTTL time.Duration `yaml:"request_ttl"` // default 90s
	// ElectionTimeout is etcd's: Permit never exceeds half of it. Default 4s.
	ElectionTimeout time.Duration `yaml:"election_timeout"`
}

// Times are all safety times, derived together by Derive: nobody computes one elsewhere.
type Times struct {
	Pulse          time.Duration // between two pulses of an agent
	Suspect        time.Duration // silence after which a host is suspect
	InFlight       time.Duration // how late a pulse may still arrive after its sender died
	DeadTwoPlanes  time.Duration // silence for `dead` and `isolated` with two or more valid planes
	DeadOnePlane   time.Duration // the same with one
	AgentDownAfter time.Duration // silence of the agent for `agent-down`
	HungAfter      time.Duration // silence of agent and nova-compute for `hung`
	ServiceFresh   time.Duration // how old our last reading of Nova's service record may be to say anything
	Leaving        time.Duration // how long a goodbye is believed
	RebootWait     time.Duration // how long a rebooted host may take to become healthy

	ProbeEvery     time.Duration // cadence of probes while a silence is being judged
	ProbeTimeout   time.Duration // when an unanswered probe becomes AnswerNone
	SlowProbeEvery time.Duration // cadence for hosts that pulse, and for those judged already
	WitnessWindow  time.Duration // how close in time a prober's proof of its own reach must be; longest gap in a witnessed silence
	PowerReadEvery time.Duration // cadence of power readings while suspect
	OffReadGap     time.Duration // least time between the two readings that make `off`
	PowerLag       time.Duration // how long a device may go on reading off after a new boot

	ReconnectWave time.Duration // after a takeover, until agents must have come back
	WaveGap       time.Duration // while one comes back within this of the other the wave goes on
	WaveMost      time.Duration // but not for longer than this
	StormWindow   time.Duration // how long a suspicion counts for the storm interlock
	Stragglers    time.Duration // after a host's last life, until all that failed with it are suspect

	Permit     time.Duration // how long after its intent was begun a dangerous write may be sent
	RequestTTL time.Duration // how long an unanswered request may still be on its way
}

const (
	worstStall    = 10 * time.Second // a whole host may stall this long (bond failover, storage hiccup) without a verdict
	novaDownTime  = 60 * time.Second // Nova's own service_down_time
	novaReport    = 10 * time.Second // Nova's report_interval
	proxyTimeout  = 60 * time.Second // what proxies before an API usually allow a request
	agentRetry    = 5 * time.Second  // the longest that an agent waits before it connects again
	handshakeWave = 18 * time.Second // 10,000 mTLS handshakes on two cores; 5,000 were measured at 9 s
)

// Derive computes every safety time from what the operator set. A value below its floor is refused. The
// error names all such settings, each as a *WrongTime with the floor and the reason; what depends on one is checked
// against its default.
func Derive(c Config) (Times, error) {
	// 1. The pulse sets the grain of everything else. Under 200 ms one scheduling hiccup of an agent is a suspicion;
	//    over 5 s a suspicion comes later than the positive evidence that it is to look for.
	var w wrongTimes
	pulse := w.atLeast("pulse", c.Pulse, time.Second, 200*time.Millisecond,
		"one scheduling hiccup of an agent would be a suspicion")
	if pulse > 5*time.Second {
		w = append(w, &WrongTime{"pulse", fmt.Sprintf("%v is above the ceiling of 5s: a suspicion would come too late to be of use", pulse)})
		pulse = time.Second
	}
	t := Times{Pulse: pulse}

	// 2. One lost pulse alone is no suspicion before half a pulse more has passed. What a dead host sent last may
	//    still be relayed by another server: we allow it the same time.
	t.Suspect = pulse * 3 / 2
	t.InFlight = t.Suspect
	t.AgentDownAfter = 3 * pulse

	// 3. Probes: two a second and one second for an answer, so that a silence of WitnessWindow holds several. The
	//    window is the one of the witness rule: a host and a control host, both within 2 s, on one plane.
	t.ProbeEvery = 500 * time.Millisecond
	t.ProbeTimeout = time.Second
	t.SlowProbeEvery = 5 * time.Second
	t.WitnessWindow = 2 * time.Second

	// 4. dead_after must outlast a stall of 10 s that begins just before a pulse was due, and the probe that was
	//    on its way when it ended. With one valid plane the same network trouble may explain all silence: 5/3 of it
	//    (20 s for 12 s: at 1,000 hosts with 12 stalls a year, mean 2 s and exponential, e^-10 of 12,000 a year,
	//    one in two years, and the fence still has to agree).
	deadFloor := worstStall + pulse + t.ProbeEvery
	t.DeadTwoPlanes = w.atLeast("dead_after", c.DeadAfter, max(12*time.Second, deadFloor), deadFloor,
		"a host may stall for 10s, beginning just before its pulse was due, and must then be heard again")
	t.DeadOnePlane = t.DeadTwoPlanes * 5 / 3

	// 5. hung_after: Nova itself calls nova-compute down after 60 s without a report, and we see a report up to one
	//    interval late. Never before `dead` could have been seen.
	t.ServiceFresh = 3 * novaReport
	hungFloor := max(novaDownTime+novaReport, t.DeadOnePlane)
	t.HungAfter = w.atLeast("hung_after", c.HungAfter, max(120*time.Second, hungFloor), hungFloor,
		"Nova allows nova-compute 60s without a report, and we see one up to 10s late")

	// 6. leaving must be longer than the silence that would otherwise be a verdict, or a goodbye means nothing.
	t.Leaving = w.atLeast("leaving", c.Leaving, max(5*time.Minute, 2*t.DeadOnePlane), 2*t.DeadOnePlane,
		"a goodbye must outlast the silence that would be a verdict without it")
	// 7. reboot_wait: nova-compute must start and report, and its next report must have been seen.
	t.RebootWait = w.atLeast("reboot_wait", c.RebootWait, 5*time.Minute, 3*novaReport,
		"nova-compute must have started and reported, and reports come every 10s")

	// 8. Power: readings ≥ 1 s apart are two, not one cached twice; at 350 ms the fourth one comes just past 1 s. A
	//    controller may go on reading off for 30 s and more after a start: twice that.
	t.PowerReadEvery = 350 * time.Millisecond
	t.OffReadGap = time.Second
	t.PowerLag = 60 * time.Second

	// 9. After a takeover all agents may come back at once, and then each must have been heard once more.
	//    On a starved machine the wave takes longer: it goes on while agents come back that had not been heard since, each
	//    at most one retry delay after the one before. Ten thousand of them have come within two minutes or something else
	//    is wrong; a host that died meanwhile and has no device that reads off waits for so long.
	t.ReconnectWave = handshakeWave + 2*pulse
	t.WaveGap = agentRetry + 2*pulse
	t.WaveMost = max(2*time.Minute, t.ReconnectWave)
	t.StormWindow = 60 * time.Second

	//    What kills many hosts at once comes at most two pulses after the last life of the first one (one pulse may
	//    have been lost); the last of them pulsed right before it, and another server may have relayed that late.
	t.Stragglers = 2*pulse + t.InFlight + t.Suspect

	// 10. The permit: a deposed leader's last write must be out before another can lead, hence at most half an
	//     election timeout, and never more than 2 s.
	election := w.atLeast("election_timeout", c.ElectionTimeout, 4*time.Second, time.Second,
		"half of it is the permit, and a power command needs that long to be sent")
	t.Permit = min(2*time.Second, election/2)

	// 11. request_ttl: an unanswered request may sit in a proxy for its whole timeout, having left at the permit's end.
	ttlFloor := proxyTimeout + t.Permit
	t.RequestTTL = w.atLeast("request_ttl", c.RequestTTL, 90*time.Second, ttlFloor,
		"a proxy may hold a request for 60s and still pass it on")
	if len(w) > 0 {
		return Times{}, errors.Join(w...)
	}
	return t, nil
}

// WrongTime is a setting that can't be used.
type WrongTime struct {
	Setting string // its key under times:
	Why     string
}

// Error names the setting first.
func (e *WrongTime) Error() string { return e.Setting + ": " + e.Why }

type wrongTimes []error

// atLeast returns the configured value, or the default for zero. A value below the floor is noted with the floor and why
// it is there; then the default stands in for it.
func (w *wrongTimes) atLeast(name string, set, byDefault, floor time.Duration, why string) time.Duration {
	switch {
	case set == 0:
		return byDefault
	case set < floor:
		*w = append(*w, &WrongTime{name, fmt.Sprintf("%v is below the floor of %v: %s", set, floor, why)})
		return byDefault
	}
	return set
}

// witnessSpan is how long valid witnesses must have heard nothing, without a gap, for a silence of deadAfter to be
// theirs too: the silence itself, less the time until the suspicion sent them and their first answer was due.
// Without it the first probe after an outage of our own network would complete a silence that nobody watched.
func (t *Times) witnessSpan(deadAfter time.Duration) time.Duration {
	return deadAfter - t.Suspect - t.WitnessWindow
}
