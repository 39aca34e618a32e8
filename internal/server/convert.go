package server

import (
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/policy"
)

// around is what a server's own record doesn't say: filled by the inventory's slower reads.
type around struct {
	aggregates map[string][]string          // host → names
	groups     map[string][]string          // server → its anti-affinity groups
	images     map[string]map[string]string // image → properties; a missing one is unknown
	failed     map[string]time.Time         // image → when it could not be read
	projects   map[string]string            // id → name
}

// vmOf turns Nova's record into the engine's. Facts that could not be read stay unknown, which rules take as such.
func (a *around) vmOf(s cloud.Server) engine.VM {
	vm := engine.VM{
		ID: s.ID, Name: s.Name, Host: s.Host, Status: s.Status, Task: s.TaskState, Power: powerName(s.PowerState),
		Locked: s.Locked, Launched: !s.LaunchedAt.IsZero(), ImageBooted: s.ImageID != "",
		MemoryMB: s.Flavor.MemoryMB, VCPUs: s.Flavor.VCPUs, Apart: a.groups[s.ID],
		Facts: policy.VM{
			ID: s.ID, Name: s.Name, ProjectID: s.ProjectID, ProjectName: a.projects[s.ProjectID], Zone: s.Zone,
			Aggregates: a.aggregates[s.Host], Flavor: s.Flavor.Name, FlavorExtra: s.Flavor.ExtraSpecs,
			Metadata: known(s.Metadata), Tags: knownTags(s.Tags), ImageProperties: a.images[s.ImageID],
		},
	}
	if s.ImageID == "" {
		vm.Facts.ImageProperties = map[string]string{} // booted from a volume: no image to ask
	}
	if vm.Facts.Aggregates == nil && a.aggregates != nil {
		vm.Facts.Aggregates = []string{}
	}
	vm.Immovable = immovable(vm.Facts)
	return vm
}

func known(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func knownTags(t []string) []string {
	if t == nil {
		return []string{}
	}
	return t
}

// immovable says why Nova refuses to evacuate a VM: emulated TPMs keep their state on the dead host, and cyborg's
// accelerators are bound to it (Nova's API guide, "evacuate": conflict for both).
func immovable(f policy.VM) string {
	if v := f.FlavorExtra["hw:tpm_version"]; v != "" {
		return "it has an emulated TPM (flavor: hw:tpm_version=" + v + ")"
	}
	if v := f.ImageProperties["hw_tpm_version"]; v != "" {
		return "it has an emulated TPM (image: hw_tpm_version=" + v + ")"
	}
	return ""
}

func powerName(p cloud.PowerState) string {
	switch p {
	case cloud.PowerRunning:
		return "running"
	case cloud.PowerPaused:
		return "paused"
	case cloud.PowerShutdown:
		return "shutdown"
	case cloud.PowerCrashed:
		return "crashed"
	case cloud.PowerSuspended:
		return "suspended"
	default:
		return "none"
	}
}

func migrationOf(m cloud.Migration) engine.Migration {
	return engine.Migration{
		UUID: m.UUID, VM: m.ServerID, Type: string(m.Type), Status: m.Status, Source: m.Source, Dest: m.Dest, User: m.UserID, Created: m.Created,
	}
}

func serviceOf(s cloud.Service, fresh bool) engine.Service {
	return engine.Service{
		ID: s.ID, Up: s.State == "up", Disabled: s.Disabled, DisabledReason: s.DisabledReason, ForcedDown: s.ForcedDown, Fresh: fresh,
	}
}

// groupsOf turns server groups around: which VMs must be kept apart. Soft anti-affinity is Nova's to honour, if it can.
func groupsOf(groups []cloud.ServerGroup) map[string][]string {
	out := map[string][]string{}
	for _, g := range groups {
		if g.Policy != "anti-affinity" {
			continue
		}
		for _, id := range g.Members {
			out[id] = append(out[id], g.ID)
		}
	}
	return out
}

func aggregatesOf(aggregates []cloud.Aggregate) map[string][]string {
	out := map[string][]string{}
	for _, a := range aggregates {
		for _, h := range a.Hosts {
			out[h] = append(out[h], a.Name)
		}
	}
	for _, names := range out {
		slices.Sort(names)
	}
	return out
}

// protectable says why a host's hypervisors are none that Ninelives protects: an Ironic or VMware nova-compute dies
// without its instances.
func protectable(hypervisors []cloud.Hypervisor) string {
	if len(hypervisors) == 0 {
		return "Nova knows no hypervisor of it yet"
	}
	for _, h := range hypervisors {
		switch t := strings.ToLower(h.Type); t {
		case "qemu", "kvm", "fake":
		default:
			return "its hypervisor is " + h.Type + ": that runs on when its nova-compute's host dies"
		}
	}
	return ""
}
