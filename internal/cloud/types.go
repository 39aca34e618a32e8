package cloud

import (
	"fmt"
	"time"
)

// Microversion is the minor number of a Nova API version: 93 is 2.93.
type Microversion int

// Lowest is the least that Nova must offer: Train's highest.
const Lowest Microversion = 79

// KeepsStopped is the version from which every evacuated server stays stopped at its destination.
const KeepsStopped Microversion = 95

// String writes it as Nova does, "2.93".
func (m Microversion) String() string { return fmt.Sprintf("2.%d", int(m)) }

// Capabilities is what a cloud offers and who we are in it.
type Capabilities struct {
	Min, Max  Microversion
	Region    string
	Interface string            // public, internal or admin
	Endpoints map[string]string // by service type: identity, compute, placement, image; a missing one is ""
	UserID    string
	User      string
	ProjectID string
	Project   string
	Roles     []string
}

// KeepsStopped tells whether a stopped server can be evacuated without being booted for a moment.
func (c Capabilities) KeepsStopped() bool { return c.Max >= KeepsStopped }

// ValidID reports whether an id that a cloud or an agent gave can stand for a VM: it becomes part of records' keys and of
// paths. Nova's are uuids.
func ValidID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// Service is a host's nova-compute as Nova sees it.
type Service struct {
	ID             string
	Host           string // the host's name, everywhere in Ninelives
	Zone           string
	Disabled       bool
	DisabledReason string
	ForcedDown     bool
	State          string    // up or down; down whenever ForcedDown, even if nova-compute runs
	UpdatedAt      time.Time // its last report, by Nova's clock; zero: never
}

// Hypervisor is one compute node of a host.
type Hypervisor struct {
	ID         string // uuid, also Placement's resource provider
	Host       string // the service's host
	Name       string // hypervisor_hostname; may differ from Host
	Type       string // QEMU (also for KVM), fake, ironic, VMware vCenter Server…
	State      string // up or down
	HostIP     string
	VCPUs      int
	VCPUsUsed  int
	MemoryMB   int
	MemoryUsed int // MB
	RunningVMs int // servers there that aren't deleted, running or not
}

// Aggregate is a group of hosts.
type Aggregate struct {
	Name     string
	Zone     string // "" if it isn't an availability zone
	Hosts    []string
	Metadata map[string]string
}

// Server is a VM as Nova sees it.
type Server struct {
	ID         string
	Name       string
	ProjectID  string
	UserID     string
	Host       string // "" while nothing has been scheduled, or after shelving
	Hypervisor string // hypervisor_hostname
	Zone       string
	Status     string // ACTIVE, SHUTOFF, ERROR…; "UNKNOWN": its cell doesn't answer
	VMState    string // active, stopped, paused, error…
	TaskState  string // "" when nothing is under way
	PowerState PowerState
	Locked     bool
	ImageID    string // "" means booted from a volume
	Flavor     Flavor
	Tags       []string
	Metadata   map[string]string
	Volumes    []string // ids
	Created    time.Time
	LaunchedAt time.Time // zero: it never ran
	// ServerGroups are the ids of its groups. Only Reader.Server fills it; elsewhere see Reader.ServerGroups.
	ServerGroups []string
}

// Flavor is the size and kind of a server, as of its creation.
type Flavor struct {
	Name        string
	VCPUs       int
	MemoryMB    int
	DiskGB      int
	EphemeralGB int
	SwapMB      int
	ExtraSpecs  map[string]string // nil if Nova's policy hides them from us
}

// PowerState is what the hypervisor last said.
type PowerState int

// Nova's power states (nova.compute.power_state); the unused numbers never appear.
const (
	PowerNone      PowerState = 0
	PowerRunning   PowerState = 1
	PowerPaused    PowerState = 3
	PowerShutdown  PowerState = 4
	PowerCrashed   PowerState = 6
	PowerSuspended PowerState = 7
)

// ServerList is a listing and when Nova began to answer it.
type ServerList struct {
	Servers []Server
	Date    time.Time // Nova's clock; zero if it didn't say (under uwsgi it doesn't)
}

// ServerGroup keeps servers together or apart.
type ServerGroup struct {
	ID      string
	Name    string
	Policy  string // affinity, anti-affinity, soft-affinity, soft-anti-affinity
	Members []string
}

// MigrationQuery narrows Migrations; its zero value asks for all.
type MigrationQuery struct {
	// Types are the wanted types; none: all.
	Types []MigrationType
	// SourceHost is where they leave from; Host is either end. At most one of the two.
	SourceHost string
	Host       string
	// ServerID is the server that moves.
	ServerID string
	// Since leaves out records not updated since; by Nova's clock, so take it from MigrationList.Since.
	Since time.Time
}

// MigrationType is the kind of a migration record.
type MigrationType string

// Nova's kinds of migration.
const (
	Evacuation    MigrationType = "evacuation"
	LiveMigration MigrationType = "live-migration"
	ColdMigration MigrationType = "migration"
	Resize        MigrationType = "resize"
)

// Migration is one record of a server's move.
type Migration struct {
	ID        int
	UUID      string
	ServerID  string
	Type      MigrationType
	Source    string // host
	Dest      string // host; "" until the scheduler has chosen
	Status    string // accepted, pre-migrating, done, failed, error, completed…
	UserID    string // who asked; "" below 2.80
	ProjectID string
	Created   time.Time
	Updated   time.Time // zero: never
}

// MigrationList is a listing and when Nova began to answer it.
type MigrationList struct {
	Migrations []Migration
	Date       time.Time // Nova's clock; zero if it didn't say (under uwsgi it doesn't)
}

// ClockSlack is how much earlier than the last answer the next listing must begin: Nova stamps a record when its
// transaction begins and shows it when it ends, and its servers' clocks may differ a little.
const ClockSlack = 60 * time.Second

// Since is the MigrationQuery.Since with which the same query, asked again, misses nothing after this listing. It is
// always by Nova's clock: the answer's Date, or without one (Nova under uwsgi sends none) the newest record's time.
// Zero, meaning all, if there is neither.
func (l MigrationList) Since() time.Time {
	newest := l.Date
	if newest.IsZero() {
		for _, m := range l.Migrations {
			for _, t := range []time.Time{m.Created, m.Updated} {
				if t.After(newest) {
					newest = t
				}
			}
		}
	}
	if newest.IsZero() {
		return newest
	}
	return newest.Add(-ClockSlack)
}

// Action is one thing that was asked of a server (os-instance-actions).
type Action struct {
	Name      string // evacuate, start, stop, reboot, live-migration…
	RequestID string // Nova's own id: Receipt.NovaID
	Start     time.Time
	UserID    string
	ProjectID string
	Message   string // "Error" if it failed
}
