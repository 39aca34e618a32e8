package demo

import (
	"context"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/agent"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// machine is a host as the agent sees it that runs there in its present boot.
type machine struct {
	ctx        context.Context // of the host's life in this boot
	c          *wire.Cloud
	host, boot string
}

var _ agent.Machine = (*machine)(nil)

// newMachine returns the host's machine in the boot that runs now.
func newMachine(ctx context.Context, c *wire.Cloud, host string) *machine {
	return &machine{ctx: ctx, c: c, host: host, boot: c.Boot(host)}
}

// Boot implements agent.Machine, as do the following.
func (m *machine) Boot() (transport.Boot, error) { return transport.ParseBoot(m.boot) }

// Identity is the machine's SMBIOS uuid and serial.
func (m *machine) Identity() (id pki.Machine, err error) {
	m.c.World(func(w *world.World) {
		h := w.Host(m.host)
		id = pki.Machine{UUID: h.Identity, Serial: h.Serial}
	})
	return id, nil
}

// Guests lists the QEMUs of the truth; a host that stands still answers when it goes on.
func (m *machine) Guests(bool) ([]agent.Guest, error) {
	if err := m.c.Stalled(m.ctx, m.host, m.boot); err != nil {
		return nil, err
	}
	var out []agent.Guest
	m.c.World(func(w *world.World) {
		for i, id := range w.Guests(m.host) {
			out = append(out, agent.Guest{UUID: id, PID: 1000 + i, State: agentv1.GuestState_GUEST_STATE_RUNNING})
		}
	})
	return out, nil
}

// Kill ends a VM's QEMU.
func (m *machine) Kill(ctx context.Context, uuid string) (n int, err error) {
	if err := m.c.Stalled(ctx, m.host, m.boot); err != nil {
		return 0, err
	}
	m.c.World(func(w *world.World) {
		for _, c := range w.Copies(uuid) {
			if c.Host == m.host {
				n = 1
			}
		}
		w.KillGuest(m.host, uuid)
	})
	return n, nil
}

// Stores is the one store that the host's instances_path is on.
func (m *machine) Stores(ctx context.Context) ([]agent.Store, error) {
	if err := m.c.Stalled(ctx, m.host, m.boot); err != nil {
		return nil, err
	}
	var id string
	m.c.World(func(w *world.World) { id = w.Host(m.host).Store })
	kind, name, _ := strings.Cut(id, ":")
	return []agent.Store{{Kind: kind, Identity: name, Path: "/var/lib/nova/instances"}}, nil
}

// Facts is what nova.conf would say.
func (m *machine) Facts(context.Context) (f agent.Facts) {
	m.c.World(func(w *world.World) {
		h := w.Host(m.host)
		f = agent.Facts{NovaComputeRunning: h.ComputeRuns, HookInstalled: true, Nova: &agentv1.Nova{
			Host: h.Name, HypervisorHostname: h.Hypervisor, InstancesPath: "/var/lib/nova/instances",
			ComputeDriver: "libvirt.LibvirtDriver", VirtType: "kvm", ConfigPath: "/etc/nova/nova.conf",
		}}
	})
	return f
}

// ShuttingDown is never so: simulated machines lose their power, or reboot without a word.
func (m *machine) ShuttingDown(context.Context) bool { return false }
