package engine

import "time"

// Kind is what an action does.
type Kind string

// The actions. Dangerous ones change the world and need a permit; the others only read, or tell.
const (
	ReadPower   Kind = "read-power"   // a fenced host's devices, once; while a host is suspect the detector asks for readings
	ListServers Kind = "list-servers" // Nova's servers of the host, Placement's consumers, migrations, the service
	Inspect     Kind = "inspect"      // an evacuation nobody answered: read Nova's instance actions
	Track       Kind = "track"        // all evacuations away from the host, one query
	Look        Kind = "look"         // one VM afresh
	ReadService Kind = "read-service" // the host's nova-compute service afresh
	AskGuests   Kind = "ask-guests"   // have the host's agent list its QEMU processes now
	SendGate    Kind = "gate"         // tell the host's agent whether nova-compute may start, and what may not

	Fence      Kind = "fence"               // switch off, read off twice
	TakeOut    Kind = "take-out-of-service" // disabled + reason + forced_down in one call
	ResetState Kind = "reset-state"         // to error, so that Nova will evacuate it
	Evacuate   Kind = "evacuate"
	Pause      Kind = "pause"
	Start      Kind = "start"       // in place
	HardReboot Kind = "hard-reboot" // in place
	PowerOn    Kind = "power-on"
	PutBack    Kind = "put-back" // forced_down off, enabled: only what we did
)

// Dangerous reports whether the act needs a committed intent and a permit.
func (k Kind) Dangerous() bool {
	switch k {
	case Fence, TakeOut, ResetState, Evacuate, Pause, Start, HardReboot, PowerOn, PutBack:
		return true
	default:
		return false
	}
}

// Action is one thing the shell must do, once, and answer with an event that names its ID.
type Action struct {
	ID       string
	Do       Kind
	Incident string
	Host     string
	VM       string
	Target   string    // evacuate: destination, "" for the scheduler's choice
	Stopped  bool      // evacuate: the VM must come back stopped
	Level    int       // fence: index of the level
	Devices  []string  // power-on: the devices that were switched off
	Service  string    // take-out, put-back: the service's id
	Disable  bool      // take-out: disable too; put-back: enable too
	Force    bool      // take-out: force down; put-back: un-force
	Since    time.Time // track, inspect: Nova's clock at the list
	Gate     *Gate
	Why      string
	Begun    time.Time
	attempt  string    // evacuate: the attempt it is, so that a late answer isn't taken for a later one's
	Deadline time.Time // no answer by then counts as unanswered

	withdrawn bool
}

// Withdrawn says of an action of an earlier step that it may not be sent any more. If it has been sent already, its
// answer counts as ever.
type Withdrawn struct{ Action, Why string }

// Gate is the order to an agent about starting nova-compute.
type Gate struct {
	Boot      string   `json:"boot"`
	Open      bool     `json:"open"`
	Forbidden []string `json:"forbidden"` // uuids that must not start on this host
	Reason    string   `json:"reason"`
}

// Record is one thing to persist. A nil Value deletes.
type Record struct {
	Key   string
	Value any
}

// Note is a sentence for people: logs, the event stream, the story.
type Note struct {
	Severity Severity
	Code     string // of the failure mode, where there is one
	Host     string
	Incident string
	VM       string
	Text     string
}

// Severity orders notes. The zero value is the harmless one.
type Severity int

// The severities.
const (
	Info Severity = iota
	Warning
	Critical
)

func (s Severity) String() string {
	switch s {
	case Warning:
		return "warning"
	case Critical:
		return "critical"
	default:
		return "info"
	}
}

// Reply answers an operator's request.
type Reply struct {
	Asked string
	OK    bool
	Text  string
}

// Effects is what a step asks of the shell: Records first, as one transaction; only then Actions.
type Effects struct {
	Records []Record
	Actions []Action
	Notes   []Note
	Replies []Reply
	// Withdrawn takes effect before Replies are given: who disarms is told so when nothing more is sent.
	Withdrawn []Withdrawn
}

// deadlines are how long the shell may take before an action counts as unanswered. Writes get Nova's own
// rpc_response_timeout (60 s) and a little; a fence gets its off_timeout through Config. A take-out is none of Nova's calls to a
// host, everything waits for it, and it may be repeated: an answer that got lost must not cost a minute.
var deadlines = map[Kind]time.Duration{
	ReadPower: 20 * time.Second, ListServers: 60 * time.Second, Inspect: 20 * time.Second, Track: 20 * time.Second,
	Look: 20 * time.Second, ReadService: 20 * time.Second, AskGuests: 10 * time.Second, SendGate: 10 * time.Second,
	TakeOut: 15 * time.Second, ResetState: 75 * time.Second, Evacuate: 75 * time.Second, Pause: 75 * time.Second,
	Start: 75 * time.Second, HardReboot: 75 * time.Second, PutBack: 75 * time.Second,
	PowerOn: 3 * time.Minute,
}
