package agent

import (
	"context"

	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// Machine is the host as its agent sees it: NewMachine is the real one, simulators have their own. All calls may come
// at the same time.
type Machine interface {
	// Boot is this life of the machine. It never changes while the agent lives.
	Boot() (transport.Boot, error)
	// Identity is what a fence device kills.
	Identity() (pki.Machine, error)
	// Guests lists the QEMU processes. fresh: nothing remembered may be used. An error means that the list proves no
	// absence; what was seen is returned all the same.
	Guests(fresh bool) ([]Guest, error)
	// Kill ends all QEMU processes of a VM at once (SIGKILL) and returns when they are gone: how many there were. An
	// error if one may still be there.
	Kill(ctx context.Context, uuid string) (int, error)
	// Stores lists where the disks of instances lie. One that can't be identified has no Identity, and its problem is
	// in the error.
	Stores(ctx context.Context) ([]Store, error)
	// Facts is what the host's configuration says, and what runs.
	Facts(ctx context.Context) Facts
	// ShuttingDown is true when the whole machine is about to end, not only the agent. Unknown is false.
	ShuttingDown(ctx context.Context) bool
}

// Guest is one QEMU process.
type Guest struct {
	UUID  string
	PID   int
	State GuestState
}

// GuestState is as far as the process table tells.
type GuestState = agentv1.GuestState

// Store is one store of instance disks. Two hosts share it when Kind and Identity are equal and not empty.
type Store struct {
	Kind, Identity, Path string
}

// Facts are what servers compare with Nova's own records, and what the gate has to do with.
type Facts struct {
	Nova               *agentv1.Nova
	NovaComputeRunning bool
	HookInstalled      bool
}
