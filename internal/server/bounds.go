package server

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// What one agent may have on record. An agent is trusted with its own host only: what it says is kept, shown and sent to
// witnesses, so a broken or hostile one must not fill the database, or have others probe addresses without end.
const (
	wordLimit  = 256  // bytes of a version, a label, a host's name
	textLimit  = 4096 // bytes of a path, a store's identity, an alert
	labelLimit = 16
	nameLimit  = 100 // domains that start by themselves; more of them add nothing to the finding
	storeLimit = 64
)

// bounded keeps of a Hello what can be a host's, and says so of the rest. It never refuses: an agent that isn't heard
// would be taken for a dead host.
func bounded(log *slog.Logger, h *agentv1.Hello) *agentv1.Hello {
	n := h.GetNova()
	out := &agentv1.Hello{
		Host: h.GetHost(), Boot: h.GetBoot(), Machine: h.GetMachine(), AgentVersion: cut(h.GetAgentVersion(), wordLimit),
		Planes: map[string]string{}, Labels: map[string]string{}, ProbePort: h.GetProbePort(), Epoch: h.GetEpoch(),
		Nova: &agentv1.Nova{
			Host: cut(n.GetHost(), wordLimit), HypervisorHostname: cut(n.GetHypervisorHostname(), wordLimit),
			ResumeGuestsStateOnHostBoot: n.GetResumeGuestsStateOnHostBoot(), LibvirtGuestsOnBoot: n.GetLibvirtGuestsOnBoot(),
			ConfigPath: cut(n.GetConfigPath(), textLimit),
		},
	}
	for _, name := range n.GetAutostarted()[:min(len(n.GetAutostarted()), nameLimit)] {
		out.Nova.Autostarted = append(out.Nova.Autostarted, cut(name, wordLimit))
	}
	for name, address := range h.GetPlanes() {
		known := slices.Contains([]detect.Plane{detect.Management, detect.Storage, detect.Tenant}, detect.Plane(name))
		if _, err := netip.ParseAddr(address); known && err == nil {
			out.Planes[name] = address
		}
	}
	for key, value := range h.GetLabels() {
		if len(out.Labels) < labelLimit && key != "" && len(key) <= wordLimit && len(value) <= wordLimit {
			out.Labels[key] = value
		}
	}
	if out.ProbePort > 65535 {
		out.ProbePort = 0
	}
	if len(out.Planes) < len(h.GetPlanes()) || len(out.Labels) < len(h.GetLabels()) {
		log.Warn("an agent named planes or labels that can't be; they are left out", "host", h.GetHost(),
			"planes", len(h.GetPlanes())-len(out.Planes), "labels", len(h.GetLabels())-len(out.Labels))
	}
	return out
}

// cut shortens text to so many bytes, and keeps it text.
func cut(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.ToValidUTF8(s, "")
}

// storeIDs are the stores that an agent sees, as they are compared. One that is too long to be kept whole is no store:
// cut, it could be taken for another.
func storeIDs(m *agentv1.Stores) []string {
	var ids []string
	for _, st := range m.GetStores() {
		id := st.GetKind() + ":" + st.GetIdentity()
		if st.GetIdentity() != "" && len(id) <= textLimit && len(ids) < storeLimit {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
