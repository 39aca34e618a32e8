package detect

import "time"

// Change is returned when a suspicion begins or ends, or a verdict changes.
type Change struct {
	Host    string
	Verdict Verdict // in force now; a suspicion alone leaves the last one in force
	// Suspect: silent, with no verdict about this silence yet. Only reversible work may start.
	Suspect bool
	Boot    string // the boot this is about; "" if unknown
	OldBoot string // the boot that Boot has just replaced: with Rebooted, or with a Contradiction that hides it
	// LastLife is the last pulse, goodbye or answered probe; zero if there was none since we began to listen.
	LastLife time.Time
	Since    time.Time // when the verdict, or the suspicion, came into force
	Reason   string    // in words, for people, the log, the incident and `explain`
	Evidence []Evidence
	Muted    []string // voices lost to a contradiction: device names, or "agent"; a muted device proves nothing
}

// Kinds of evidence.
const (
	KindPulse   = "pulse"
	KindStream  = "stream"
	KindWitness = "witness"
	KindPower   = "power"
	KindService = "service"
	KindGoodbye = "goodbye"
)

// Evidence is one observation that a Change or Assessment rests on.
type Evidence struct {
	Kind   string
	Source string // server, prober, device
	Plane  Plane  // of a witness
	Via    string // of a power reading: readings through one controller are one witness
	At     time.Time
	Says   string
}

// Assessment is everything known about a host: what `host show` and `explain` print.
type Assessment struct {
	Host      string
	Zone      string
	Labels    map[string]string // read only
	Protected bool
	Verdict   Verdict
	Suspect   bool
	Boot      string
	LastLife  time.Time
	Since     time.Time
	Reason    string
	Waiting   string // what is missing for a verdict while the host is silent; "" otherwise
	Planes    []PlaneView
	Devices   []DeviceView
	Muted     []string
}

// PlaneView is one plane of a host as witnesses see it.
type PlaneView struct {
	Plane       Plane
	State       PlaneState
	LastLife    time.Time
	SilentFor   time.Duration // while silent: how long valid witnesses have heard nothing, without a gap
	WitnessedBy []string      // the last valid probers that got no answer
}

// PlaneState says what is known of a plane now. The zero value is PlaneUnknown, which is never silence.
type PlaneState string

// The plane states.
const (
	PlaneUnknown PlaneState = ""
	PlaneAlive   PlaneState = "alive"
	PlaneSilent  PlaneState = "silent"
)

// DeviceView is the last reading of one fence device.
type DeviceView struct {
	Device string
	Via    string
	State  PowerState
	At     time.Time
	Bound  bool
	Muted  bool // it contradicted a living host
}

// Snapshot is the whole cloud in numbers, for the storm interlock and the dashboard.
type Snapshot struct {
	Seen     map[string]int  // by zone: protected hosts that we have heard ourselves
	Verdicts map[Verdict]int // all known hosts
	Suspects int             // now
	// Troubled are the hosts that are suspect or worse, now or within the last Times.StormWindow, by name. Who was
	// suspect for a moment and came back stays in the list until the window has passed.
	Troubled []Trouble
}

// Trouble is one host of Snapshot.Troubled.
type Trouble struct {
	Host    string
	Zone    string
	Labels  map[string]string // read only
	Verdict Verdict
	Suspect bool
	Seen    bool      // counted in Snapshot.Seen
	Since   time.Time // when the suspicion or verdict began
}

// Want says what would help to judge a host: probes of these planes and power readings, repeated at these
// intervals until the host leaves the list.
type Want struct {
	Host       string
	Planes     []Plane       // each from the servers and from witnesses of another rack
	ProbeEvery time.Duration // Times.ProbeEvery, or Times.SlowProbeEvery when haste is over
	PowerEvery time.Duration // 0: no reading wanted
}
