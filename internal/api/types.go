package api

import (
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/policy"
)

// What the engine shows is shown as it is.
type (
	// Host is a compute host in a list.
	Host = engine.HostView
	// Incident is an incident with its VMs counted by state.
	Incident = engine.IncidentView
	// Recovery is what becomes of one VM in one incident.
	Recovery = engine.Recovery
	// VM is a VM as last listed, what the policy says of it and, for `vm explain`, its latest recovery.
	VM = engine.InventoryVM
	// Plan is what would happen if some hosts died now.
	Plan = engine.Foreseen
)

// HostDetail is all that is known of one host.
type HostDetail struct {
	Host
	Waiting string       `json:"waiting,omitempty" doc:"What is missing for a verdict while the host is silent"`
	Muted   []string     `json:"muted,omitempty" doc:"Devices, or the agent, that lost their voice to a contradiction"`
	Planes  []Plane      `json:"planes"`
	Joined  *AgentRecord `json:"joined,omitempty" doc:"Its agent, if one has joined"`
	Devices []Device     `json:"devices"`
	Guests  []VM         `json:"guests" doc:"Its VMs as last listed"`
}

// Plane is a network that the host can be seen on.
type Plane struct {
	Plane       string    `json:"plane"`
	Address     string    `json:"address,omitempty"`
	State       string    `json:"state" enum:"alive,silent,unknown"`
	Why         string    `json:"why,omitempty" doc:"Why its state is unknown"`
	LastLife    time.Time `json:"last_life,omitzero"`
	SilentFor   float64   `json:"silent_for_s,omitempty" doc:"Seconds that valid witnesses have heard nothing"`
	WitnessedBy []string  `json:"witnessed_by,omitempty"`
}

// AgentRecord is what a host's agent said of its machine.
type AgentRecord struct {
	Version   string            `json:"version,omitempty"`
	Boot      string            `json:"boot,omitempty"`
	Joined    time.Time         `json:"joined,omitzero"`
	Connected bool              `json:"connected" doc:"Whether it is connected to the answering server"`
	UUID      string            `json:"machine_uuid,omitempty"`
	Serial    string            `json:"machine_serial,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Stores    []string          `json:"stores,omitempty"`
	NovaHost  string            `json:"nova_host,omitempty" doc:"host of its nova.conf"`
	Rejoin    bool              `json:"rejoin,omitempty" doc:"An operator allows another machine to take the name over"`
}

// Device is one fence device as last checked.
type Device struct {
	Host     string    `json:"host"`
	Level    int       `json:"level" doc:"From 1; a level's devices must all succeed"`
	Device   string    `json:"device"`
	Driver   string    `json:"driver"`
	Via      string    `json:"via,omitempty" doc:"Address of the controller it is reached through"`
	Bound    bool      `json:"bound" doc:"Whether it counts as the host's own"`
	Why      string    `json:"why,omitempty" doc:"Why it is bound, or isn't"`
	Working  bool      `json:"working" doc:"It could fence now"`
	Trouble  string    `json:"trouble,omitempty"`
	Since    time.Time `json:"since,omitzero" doc:"Since when it works, or doesn't"`
	Power    string    `json:"power" enum:"on,off,unknown" doc:"As last read, whoever read it"`
	PowerAt  time.Time `json:"power_at,omitzero" doc:"When it read so"`
	Identity string    `json:"identity,omitempty" doc:"The machine it says it switches"`
	Checked  time.Time `json:"checked,omitzero"`
	Steps    []Step    `json:"steps,omitempty"`
}

// Step is one step of a device's check.
type Step struct {
	Name  string `json:"name" doc:"reach, login, privilege, identity, power"`
	Grade string `json:"grade" doc:"ok, failed, not applicable, or empty: not tried"`
	Words string `json:"words,omitempty"`
}

// IncidentDetail is an incident and its VMs in the order of the queue.
type IncidentDetail struct {
	Incident
	Guests []Recovery `json:"guests"`
}

// Policy is the policy in force.
type Policy struct {
	Path    string          `json:"path"`
	Source  string          `json:"source" doc:"Its text; empty for the built-in one"`
	Version string          `json:"version"`
	Advice  []policy.Advice `json:"advice" doc:"What is allowed but probably not meant"`
}

// PolicyCheck is what became of reading a policy file.
type PolicyCheck struct {
	OK       bool            `json:"ok"`
	Version  string          `json:"version,omitempty"`
	Mistakes []Mistake       `json:"mistakes"`
	Advice   []policy.Advice `json:"advice"`
}

// PolicyDiff lists the VMs that another policy would treat differently.
type PolicyDiff struct {
	Old     string          `json:"old" doc:"Version in force"`
	New     string          `json:"new"`
	VMs     int             `json:"vms" doc:"How many were compared"`
	Changes []policy.Change `json:"changes"`
	Advice  []policy.Advice `json:"advice"`
}

// PolicyVerdict is what the policy says of one VM, rule by rule.
type PolicyVerdict struct {
	VM       policy.VM       `json:"vm"`
	Host     string          `json:"host"`
	Decision policy.Decision `json:"decision"`
	Steps    []policy.Step   `json:"steps"`
}

// Mistake is one error in an operator's file.
type Mistake struct {
	Path    string `json:"path,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Snippet string `json:"snippet,omitempty" doc:"The line and a caret below it"`
}

// File is an operator's file on its way.
type File struct {
	Path   string `json:"path" maxLength:"4096" doc:"Its name, for messages"`
	Source string `json:"source" doc:"Its text"`
}

// Imported is what became of a devices.yaml.
type Imported struct {
	Text    string   `json:"text"`
	Devices []Device `json:"devices" doc:"The devices of the imported hosts, checked"`
}

// Token lets one host join, once.
type Token struct {
	Host    string    `json:"host"`
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Warning string    `json:"warning,omitempty" doc:"Why the token may be of no use: Nova has no such host"`
}

// Reply says what became of an operator's request.
type Reply struct {
	Text string `json:"text"`
}

// Severities of findings.
const (
	Refuse = "error"   // would stop a recovery, or make it dangerous
	Warn   = "warning" // would make one worse
	Tell   = "info"
)

// Finding is something that doctor noticed.
type Finding struct {
	Severity string `json:"severity" enum:"error,warning,info"`
	Code     string `json:"code"`
	Host     string `json:"host,omitempty"`
	Title    string `json:"title"`
	What     string `json:"what,omitempty" doc:"What was seen"`
	Do       string `json:"do,omitempty" doc:"What to do about it"`
	// Forbids: `arm` is refused while this is so, unless forced.
	Forbids bool `json:"forbids_arm,omitempty" doc:"Arming is refused because of it, unless forced"`
}

// Diagnosis is what doctor found, worst first.
type Diagnosis struct {
	At       time.Time `json:"at"`
	Findings []Finding `json:"findings"`
	Passed   []string  `json:"passed" doc:"What was looked at and is as it should be"`
}

// Event is a sentence of the story as it unfolds.
type Event struct {
	// ID is opaque; it names the answering server's life and a number in it.
	ID       string    `json:"id"`
	At       time.Time `json:"at"`
	Severity string    `json:"severity"`
	Code     string    `json:"code,omitempty"`
	Host     string    `json:"host,omitempty"`
	Incident string    `json:"incident,omitempty"`
	VM       string    `json:"vm,omitempty"`
	Text     string    `json:"text"`
	// Reset: messages before this one were missed; read again what matters.
	Reset bool `json:"reset,omitempty"`
}

// AuditEntry is one act of an operator.
type AuditEntry struct {
	At     time.Time `json:"at"`
	Who    string    `json:"who"`
	What   string    `json:"what"`
	Reason string    `json:"reason,omitempty"`
	OK     bool      `json:"ok"`
	Reply  string    `json:"reply"`
}
