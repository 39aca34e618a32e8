package world

import (
	"fmt"
	"time"
)

// Plane is a network that a host can be seen on.
type Plane string

// The planes that a host may have.
const (
	Management Plane = "management"
	Storage    Plane = "storage"
	Tenant     Plane = "tenant"
)

// Planes lists all planes.
func Planes() []Plane { return []Plane{Management, Storage, Tenant} }

// Error is Nova's refusal: an HTTP code and a message for people.
type Error struct {
	Code    int
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("%d: %s", e.Code, e.Message) }

func refuse(code int, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// VM states as Nova keeps them (vm_state, not the API's status).
const (
	Active       = "active"
	Building     = "building"
	Stopped      = "stopped"
	Paused       = "paused"
	Suspended    = "suspended"
	Rescued      = "rescued"
	Resized      = "resized"
	Shelved      = "shelved"
	Offloaded    = "shelved_offloaded"
	SoftDeleted  = "soft-delete"
	Deleted      = "deleted"
	ErrorState   = "error"
	PowerNone    = 0 // power_state values
	PowerRunning = 1
	PowerPaused  = 3
	PowerShut    = 4
)

// VM is Nova's record of a server.
type VM struct {
	ID, Name      string
	Project, User string
	VMState       string // one of the constants above
	TaskState     string // "" for none
	PowerState    int
	Host          string // "" before scheduling
	Flavor        Flavor // embedded, as Nova does from 2.47 on
	Image         string // image id; "" for boot from volume
	Volumes       []string
	Tags          []string
	Metadata      map[string]string
	Locked        bool
	LockedReason  string
	Group         string // server group id
	KeyName       string
	Fault         string
	Created       time.Time
	Updated       time.Time
	Launched      time.Time // zero: never ran
	Cell          string
	DiskStore     string // id of the store that holds an image-booted VM's disk
	Wanted        bool   // its owner wants it running: what VMsDown measures against
	TrustedVTPM   bool   // vTPM: Nova refuses to evacuate it
	history       []Entry
}

// Entry is one line of a VM's history.
type Entry struct {
	At   time.Time
	Text string
}

// Flavor is a VM size. RAM in MiB, Disk in GiB.
type Flavor struct {
	ID, Name         string
	VCPUs, RAM, Disk int
	Extra            map[string]string
}

// Image is a Glance image.
type Image struct {
	ID, Name   string
	Properties map[string]string
}

// Group is a server group.
type Group struct {
	ID, Name, Policy, Project string // policy: affinity, anti-affinity, soft-…
	Members                   []string
}

// Aggregate is a host aggregate; with Zone it makes an availability zone.
type Aggregate struct {
	ID       int
	UUID     string
	Name     string
	Zone     string
	Hosts    []string
	Metadata map[string]string
}

// Store keeps VM disks. A shared store is seen by every host that mounts it.
type Store struct {
	ID     string
	Shared bool
}

// Migration is Nova's record of a move: Type evacuation, live-migration, migration or resize.
type Migration struct {
	ID           int
	UUID         string
	Type         string
	Status       string // accepted, pre-migrating, done, failed, error, completed, running, …
	VM           string
	Source, Dest string // Dest "" until scheduled
	User         string
	Project      string
	Created      time.Time
	Updated      time.Time
	Unused       bool // its evacuation is noted in an older record, see firstAccepted: this one tells of nothing
}

// Open says whether the migration may still change something.
func (m Migration) Open() bool {
	switch m.Status {
	case "done", "failed", "error", "completed", "confirmed", "reverted", "cancelled":
		return false
	}
	return true
}

// Action is an entry of os-instance-actions.
type Action struct {
	RequestID string
	Name      string
	User      string
	Project   string
	Message   string // "Error" when it failed
	Start     time.Time
	Updated   time.Time
}

// Copy is a QEMU process: the truth of who runs a VM.
type Copy struct {
	VM, Host, Boot string
	Since          time.Time
	How            string // what started it, in words
}

// DoubleRun is a span of time in which two copies of one VM existed on powered machines.
type DoubleRun struct {
	VM            string
	First, Second Copy
	From          time.Time
	To            time.Time // zero: still
}

func (d DoubleRun) String() string {
	to := "still"
	if !d.To.IsZero() {
		to = d.To.UTC().Format("15:04:05.000")
	}
	return fmt.Sprintf("%s ran on %s (%s) and %s (%s) from %s to %s", d.VM, d.First.Host, d.First.How,
		d.Second.Host, d.Second.How, d.From.UTC().Format("15:04:05.000"), to)
}

// Loss is data of a VM that is gone for good.
type Loss struct {
	VM  string
	At  time.Time
	Why string
}
