package engine

import (
	"time"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// Event is one thing that happened. The types of this file are the only ones.
type Event interface{ event() }

// HostSeen brings what the cloud and the host's agent say of a host, whole; it replaces what was known.
type HostSeen struct{ Host HostFacts }

// HostForgotten takes out a host that Nova no longer lists.
type HostForgotten struct{ Host string }

// InventoryRead brings the VMs of one host as Nova lists them in quiet times; it is what an incident's own list is checked against.
type InventoryRead struct {
	Host  string
	VMs   []VM
	Since time.Time // when the reading began, of some minutes with many VMs; zero: now
}

// Assessed is a change of what detection makes of a host.
type Assessed struct {
	Host     string
	Verdict  Verdict
	Suspect  bool
	Boot     string // the boot the verdict is about (for rebooted and up: the one that lives)
	Via      string // for off: the controller address the readings came through
	LastLife time.Time
	Since    time.Time
	Reason   string
	Evidence []string
}

// AgentReported brings an agent's own view of its host.
type AgentReported struct {
	Host   string
	Report AgentReport
}

// ServiceRead is one fresh reading of a host's nova-compute service.
type ServiceRead struct {
	Action  string
	Host    string
	Service Service
	Err     string
}

// FenceDone answers Fence.
type FenceDone struct {
	Action   string
	Proven   bool
	Device   string // the device whose reading is the proof
	Devices  []string
	Readings []Reading
	Sent     bool // an off may have left this server
	Err      string

	Unanswered bool // nobody knows what became of it: set by the engine alone
}

// PowerRead answers ReadPower outside of a suspicion: what the fenced host's devices say now.
type PowerRead struct {
	Action   string
	Readings []Reading
	Err      string
}

// Listed answers ListServers.
type Listed struct {
	Action      string
	Date        time.Time // Nova's clock: later records are found from here on; zero: ask for all
	VMs         []VM
	Allocated   []string    // consumers that Placement knows on the host
	Allocations bool        // whether Placement answered
	Migrations  []Migration // not final, from or to the host, and all evacuations of it
	Service     Service
	Err         string
}

// Migration is one record of Nova's os-migrations.
type Migration struct {
	UUID    string
	VM      string
	Type    string // evacuation, live-migration, migration, resize
	Status  string
	Source  string
	Dest    string
	User    string
	Created time.Time // Nova's clock
}

// Answered answers every act on the cloud or on power that has no event of its own.
type Answered struct {
	Action string
	Answer Answer
	Status int // HTTP status of a refusal, 0 otherwise
	Text   string
	Theirs bool // take-out, put-back: an operator had disabled the service meanwhile; it was left so
}

// Inspected answers Inspect: what Nova's own records say of an act that nobody answered.
type Inspected struct {
	Action      string
	Evacuations int // instance actions "evacuate" since the incident's list
	Err         string
}

// Tracked answers Track: every evacuation away from a host since its list.
type Tracked struct {
	Action     string
	Migrations []Migration
	Err        string
}

// Looked answers Look: one VM, read afresh.
type Looked struct {
	Action string
	Found  bool
	VM     VM
	Err    string
}

// CloudSeen says who we are in the cloud and what it can do.
type CloudSeen struct {
	User         string // our user's id; evacuations by any other are somebody else's
	StaysStopped bool   // Nova keeps an evacuated stopped VM stopped (microversion 2.95)
}

// PolicyChanged brings new rules.
type PolicyChanged struct{ Policy *policy.Policy }

// QuorumChanged says how the servers stand and which hosts' machines carry them.
type QuorumChanged struct {
	Self    string            // this server's own host, "" if it runs on none
	Members int               // servers in all
	Healthy int               // of them reachable
	Lost    map[string]bool   // servers that are certainly not among the healthy ones
	On      map[string]string // host → server
	Ahead   Ahead             // what hosts have heard of later epochs
}

// Ahead counts the hosts whose agents have heard of a later epoch than this leader's: they refuse its orders.
type Ahead struct {
	Hosts, Of int    // so many, of those that have ever been heard
	Epoch     uint64 // the latest of theirs
}

// Asked is what an operator wants. Every one is answered by a Reply in the same step.
type Asked struct {
	ID       string
	By       string
	Verb     Verb
	Host     string
	Zone     string
	VM       string
	Incident string
	Reason   string
}

// Verb names an operator's request.
type Verb string

// The operators' verbs.
const (
	Arm            Verb = "arm"
	Disarm         Verb = "disarm"
	ShadowOn       Verb = "shadow-on"
	ShadowOff      Verb = "shadow-off"
	MaintenanceOn  Verb = "maintenance-on"
	MaintenanceOff Verb = "maintenance-off"
	ConfirmDown    Verb = "confirm-down"
	FenceHost      Verb = "fence"
	ReadmitHost    Verb = "readmit"
	RetryIncident  Verb = "retry"
	AbortIncident  Verb = "abort"
)

// Tick lets time pass; the shell sends one at least every 250 ms.
type Tick struct{}

func (HostSeen) event()      {}
func (HostForgotten) event() {}
func (InventoryRead) event() {}
func (Assessed) event()      {}
func (AgentReported) event() {}
func (ServiceRead) event()   {}
func (FenceDone) event()     {}
func (PowerRead) event()     {}
func (Listed) event()        {}
func (Answered) event()      {}
func (Inspected) event()     {}
func (Tracked) event()       {}
func (Looked) event()        {}
func (CloudSeen) event()     {}
func (PolicyChanged) event() {}
func (QuorumChanged) event() {}
func (Asked) event()         {}
func (Tick) event()          {}
