package api

import (
	"context"
	"io"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

// Backend is the server behind the API. Its errors are *Problem where the client can do something about them; any other
// is answered as a 500. What needs the engine answers NotLeading on a server that doesn't lead.
type Backend interface {
	Watcher
	Operator
	Policies
	Devices
	Storyteller
	Cluster
}

// Cluster shows and changes the servers themselves.
type Cluster interface {
	// Members works on every server.
	Members(ctx context.Context) (Membership, error)
	// RemoveServer takes a server out for good. It is refused where the quorum would be lost.
	RemoveServer(ctx context.Context, by, name, reason string) (Reply, error)
	// Backup writes the whole database as of now to w, its checksum at the end. It works on every server with quorum.
	Backup(ctx context.Context, by string, w io.Writer) error
}

// Watcher shows how things stand.
type Watcher interface {
	// Ready is nil if this server can take part: its store has quorum. Neither leadership nor the cloud matters.
	Ready(ctx context.Context) error
	// Status works on every server.
	Status(ctx context.Context) (Status, error)
	// Hosts are all compute hosts, by name; a page continues after a host's name.
	Hosts(ctx context.Context, p Page) (Part[Host], error)
	Host(ctx context.Context, name string) (HostDetail, error)
	// Incidents are those in a state (open, closed; anything else: all) of a host ("": of all), newest first; a page
	// continues after an incident's ID.
	Incidents(ctx context.Context, state, host string, p Page) (Part[Incident], error)
	Incident(ctx context.Context, id string) (IncidentDetail, error)
	// VMs are those on a host and of a project (id or name), as last listed, by host and id; "" is all. A page continues
	// after HOST/ID.
	VMs(ctx context.Context, host, project string, p Page) (Part[VM], error)
	// VM tells all about the VMs with this id or name; there may be several.
	VM(ctx context.Context, idOrName string) ([]VM, error)
	Plan(ctx context.Context, hosts []string) (Plan, error)
	Doctor(ctx context.Context) (Diagnosis, error)
}

// Page is what part of a list is wanted: at most Limit entries (0: all) after the one that After names ("": from the
// beginning). What After names need not be there any more.
type Page struct {
	After string
	Limit int
}

// Part is a part of a list. Next is the After of the next one, "" if this was the last.
type Part[T any] struct {
	List []T
	Next string
}

// Operator takes what operators ask.
type Operator interface {
	// Ask puts a request to the engine; ID is filled in by the backend, By by the API.
	Ask(ctx context.Context, ask engine.Asked) (Reply, error)
	// Arm arms, in shadow mode or not. It is refused while doctor finds what forbids it, unless forced.
	Arm(ctx context.Context, a Arming) (Reply, error)
	// Rejoin allows another machine to take a known host's name over.
	Rejoin(ctx context.Context, by, host string) (Reply, error)
	// Token makes a token with which the agent of a host can join once, within life (0: the default).
	Token(ctx context.Context, by, host string, life time.Duration) (Token, error)
}

// Arming is the request to arm.
type Arming struct {
	By     string
	Shadow bool
	Force  bool
	Reason string
}

// Policies are the operator's rules.
type Policies interface {
	Policy(ctx context.Context) (Policy, error)
	// ApplyPolicy refuses a policy with mistakes and changes nothing then.
	ApplyPolicy(ctx context.Context, by string, f File) (Policy, error)
	CheckPolicy(ctx context.Context, f File) (PolicyCheck, error)
	DiffPolicy(ctx context.Context, f File) (PolicyDiff, error)
	ExplainPolicy(ctx context.Context, vm string) ([]PolicyVerdict, error)
}

// Devices are the fence devices.
type Devices interface {
	// Devices are all fence devices, by host; a page ends with a host's last one and continues after a host's name.
	Devices(ctx context.Context, p Page) (Part[Device], error)
	// CheckDevices checks the devices of these hosts now (none: of all); nothing is switched.
	CheckDevices(ctx context.Context, hosts []string) ([]Device, error)
	ImportDevices(ctx context.Context, by string, f File) (Imported, error)
	BindDevices(ctx context.Context, by, host, reason string) (Reply, error)
}

// Storyteller tells what happens and what was done.
type Storyteller interface {
	// Events calls send for every message after the one with this ID that is still kept, then for each new one, until
	// ctx ends or send fails. The first is a reset if messages were missed. With "" it begins with what comes.
	Events(ctx context.Context, after string, send func(Event) error) error
	// Audit lists the operators' acts since a time, oldest first.
	Audit(ctx context.Context, since time.Time) ([]AuditEntry, error)
}
