// Package cloud says what Ninelives asks of an OpenStack cloud: the types, two small interfaces, and the classes of
// error that decide what may be done next. The one implementation is cloud/openstack; the suite in cloud/contract
// holds a simulated and a real cloud to the same behaviour.
package cloud

import (
	"context"
	"time"
)

// Cloud is everything Ninelives asks of a cloud.
type Cloud interface {
	Reader
	Writer
}

// Reader asks without changing anything. Its calls may be repeated at will; they end within the reader's own deadline
// or the context's, whichever is sooner. Their errors are ErrNotFound, ErrUnauthorized, ErrUnavailable or *Refused.
type Reader interface {
	// Capabilities asks anew what the cloud offers and who we are in it. It also makes every later call use what it found.
	Capabilities(ctx context.Context) (Capabilities, error)
	// Services lists the nova-compute services of all hosts.
	Services(ctx context.Context) ([]Service, error)
	// Service reads one host's nova-compute service: in a cloud of thousands of hosts the list of all takes Nova seconds.
	// ErrNotFound: Nova knows none, or the host's cell doesn't answer.
	Service(ctx context.Context, host string) (Service, error)
	// Hypervisors lists all hypervisors; one host may have several (Ironic) or none (never started).
	Hypervisors(ctx context.Context) ([]Hypervisor, error)
	// Aggregates lists all host aggregates.
	Aggregates(ctx context.Context) ([]Aggregate, error)
	// ServersOn lists all projects' servers on a host (as Service.Host names it). Nova silently leaves out cells that
	// don't answer: a short list is not a proof. Check it against Allocations and what was known before.
	ServersOn(ctx context.Context, host string) (ServerList, error)
	// AllServers calls yield for every server of all projects, page by page. It stops at yield's first error and
	// returns it. A server of a cell that doesn't answer comes with Status "UNKNOWN" and few other fields.
	AllServers(ctx context.Context, yield func(Server) error) error
	// Server reads one server, the only call that fills ServerGroups. ErrNotFound: Nova doesn't know it.
	Server(ctx context.Context, id string) (Server, error)
	// ServerGroups lists all projects' server groups with their members.
	ServerGroups(ctx context.Context) ([]ServerGroup, error)
	// Migrations lists migration records (evacuations among them), the newest first.
	Migrations(ctx context.Context, q MigrationQuery) (MigrationList, error)
	// Actions lists what was asked of a server, the newest first. Nova writes an action before the migration record.
	Actions(ctx context.Context, serverID string) ([]Action, error)
	// Allocations lists who holds resources of a hypervisor in Placement: uuids of servers, and of migrations that are
	// under way (such a uuid is a Migration.UUID). ErrNotFound: Placement doesn't know the hypervisor.
	Allocations(ctx context.Context, hypervisorID string) ([]string, error)
	// ImageProperties reads an image's own properties (not its name, size and the like). ErrNotFound: deleted since.
	ImageProperties(ctx context.Context, imageID string) (map[string]string, error)
}

// Writer holds the dangerous writes. Each is sent at most once, by no layer ever repeated, on a connection of its own,
// and Intent.Permit is asked after the connection stands and before its first byte leaves. The error says what is known:
//
//	nil            Nova accepted it (evacuate, start, …: accepted, not done)
//	ErrNotSent     it certainly had no effect; with a new permit it may be sent again
//	ErrUnanswered  nobody knows; read back before anything else is done
//	*Refused       Nova said no, and will say no again until something changes
//
// The Receipt is filled as far as known, in every case.
type Writer interface {
	// TakeOut forces a service down (and disables it) in one atomic request.
	TakeOut(ctx context.Context, in Intent, serviceID string, o TakeOut) (Receipt, error)
	// PutBack lifts forced_down (and enables the service) in one atomic request.
	// Refused (400) while evacuations from the host read `done` and its nova-compute hasn't restarted since.
	PutBack(ctx context.Context, in Intent, serviceID string, o PutBack) (Receipt, error)
	// Evacuate asks Nova to bring a server of a dead host back elsewhere. It is not idempotent: two accepted ones are
	// two evacuations.
	Evacuate(ctx context.Context, in Intent, serverID string, o Evacuate) (Receipt, error)
	// ResetState sets Nova's idea of a server's state, without touching the server.
	ResetState(ctx context.Context, in Intent, serverID string, s State) (Receipt, error)
	// Start powers a stopped server on. Nova doesn't check that its host is up: the order waits there in a queue.
	Start(ctx context.Context, in Intent, serverID string) (Receipt, error)
	// Stop powers a server off.
	Stop(ctx context.Context, in Intent, serverID string) (Receipt, error)
	// Pause freezes a running server.
	Pause(ctx context.Context, in Intent, serverID string) (Receipt, error)
	// HardReboot starts a server's guest anew on its host, from its disk.
	HardReboot(ctx context.Context, in Intent, serverID string) (Receipt, error)
}

// Intent is what a dangerous write must carry.
type Intent struct {
	// Permit is asked as the very last thing before bytes leave. An error: nothing is sent, and the write's error
	// wraps it and ErrNotSent. A nil Permit is a programming error and refused as such: nothing is sent.
	Permit func() error
	// RequestID is the global request id, "req-" and a uuid, that Nova's logs and notifications carry; empty: a fresh
	// one is made. Choose it beforehand to record it with the intent. os-instance-actions do not show it: there stands
	// Nova's own id, Receipt.NovaID.
	RequestID string
}

// Receipt says what became of a write.
type Receipt struct {
	// RequestID is the global request id that was sent.
	RequestID string
	// NovaID is Nova's own id of the request, the one that Action.RequestID shows. Empty when no answer came.
	NovaID string
	// Sent is true if at least one byte of the request left, so the write may have had an effect.
	Sent bool
	// Date is Nova's clock in its answer; zero if it didn't say (under uwsgi it doesn't).
	Date time.Time
}

// TakeOut says how to take a service out. Reason and Disable belong together.
type TakeOut struct {
	// Disable also disables the service; false leaves an operator's own disabling and its reason untouched.
	Disable bool
	// Reason is Nova's disabled_reason, at most 255 characters; needed with Disable, refused without.
	Reason string
}

// PutBack says how to take a service back.
type PutBack struct {
	// Enable also enables the service, which forgets its disabled_reason.
	Enable bool
}

// Evacuate says how to evacuate a server.
type Evacuate struct {
	// Host is the target as Service.Host names it; Nova's scheduler still checks it. Empty: the scheduler chooses.
	Host string
	// Stopped says that the server was SHUTOFF, so it must not run afterwards. Nova can do so from 2.95 on
	// (Capabilities.KeepsStopped); an older one boots it for a moment and stops it again: whether to accept that is
	// for the caller to decide before.
	Stopped bool
}

// State is what ResetState may set.
type State string

// The states that Nova's os-resetState knows.
const (
	StateActive State = "active"
	StateError  State = "error"
)
