package world

import (
	"fmt"
	"slices"
)

// startCopy begins a QEMU for a VM on a host: the one place where that happens.
// A second copy is recorded, not refused: whether a lock would have stopped it
// is not ours to hope.
func (w *World) startCopy(v *VM, h *Host, how string) bool {
	if h.denied[v.ID] {
		w.emit("copy-refused", h.Name, v.ID, "libvirt's hook refused: %s", how)
		w.note(v, "start on %s refused by libvirt's hook (%s)", h.Name, how)
		return false
	}
	if w.hasCopy(v.ID, h.Name) {
		return true // libvirt has one domain per uuid
	}
	c := &Copy{VM: v.ID, Host: h.Name, Boot: h.Boot, Since: w.now, How: how}
	for _, other := range w.copies[v.ID] {
		d := &DoubleRun{VM: v.ID, First: *other, Second: *c, From: w.now}
		w.doubles = append(w.doubles, d)
		w.emit("double-run", h.Name, v.ID, "also on %s (%s)", other.Host, other.How)
		w.note(v, "RUNS TWICE: on %s and on %s", other.Host, h.Name)
	}
	w.copies[v.ID] = append(w.copies[v.ID], c)
	w.emit("copy-start", h.Name, v.ID, "%s", how)
	w.note(v, "runs on %s: %s", h.Name, how)
	return true
}

// endCopy ends a VM's QEMU on a host, if there is one.
func (w *World) endCopy(id, host, how string) {
	list := w.copies[id]
	i := slices.IndexFunc(list, func(c *Copy) bool { return c.Host == host })
	if i < 0 {
		return
	}
	w.copies[id] = slices.Delete(list, i, i+1)
	if len(w.copies[id]) == 0 {
		delete(w.copies, id)
	}
	for _, d := range w.doubles {
		if d.VM == id && d.To.IsZero() && (d.First.Host == host || d.Second.Host == host) {
			d.To = w.now
		}
	}
	w.emit("copy-end", host, id, "%s", how)
	if v := w.vms[id]; v != nil {
		w.note(v, "no longer runs on %s: %s", host, how)
	}
}

func (w *World) endCopiesOf(h *Host, how string) {
	for _, id := range w.Guests(h.Name) {
		w.endCopy(id, h.Name, how)
	}
}

// leftovers are the guests on a host whose VM Nova has deleted meanwhile.
func (w *World) leftovers(host string) []string {
	var out []string
	for id := range w.copies {
		if w.vms[id] == nil && w.hasCopy(id, host) {
			out = append(out, id)
		}
	}
	slices.Sort(out) // maps have no order, histories need one
	return out
}

func (w *World) hasCopy(id, host string) bool {
	return slices.ContainsFunc(w.copies[id], func(c *Copy) bool { return c.Host == host })
}

// KillGuest ends one VM's QEMU and nothing else: a crashed guest.
func (w *World) KillGuest(host, id string) { w.endCopy(id, host, "QEMU killed") }

// Copies lists the running copies of a VM. A frozen machine's count.
func (w *World) Copies(id string) []Copy {
	var out []Copy
	for _, c := range w.copies[id] {
		out = append(out, *c)
	}
	return out
}

// Guests lists the uuids of the QEMUs on a host, as its agent sees them in /proc.
func (w *World) Guests(host string) []string {
	var out []string
	for _, id := range w.vmIDs {
		if w.hasCopy(id, host) {
			out = append(out, id)
		}
	}
	return append(out, w.leftovers(host)...)
}

// DoubleRuns lists every span of time in which a VM had two running copies on
// powered machines. Nothing is ever taken off this list.
func (w *World) DoubleRuns() []DoubleRun {
	var out []DoubleRun
	for _, d := range w.doubles {
		out = append(out, *d)
	}
	return out
}

// Lost lists VMs whose data is gone: rebuilt from an image elsewhere.
func (w *World) Lost() []Loss { return slices.Clone(w.losses) }

// VMsDown lists VMs whose owner wants them running and that no working machine runs.
func (w *World) VMsDown() []string {
	var out []string
	for _, id := range w.vmIDs {
		if v := w.vms[id]; v.Wanted && !w.serving(id) {
			out = append(out, id)
		}
	}
	return out
}

func (w *World) serving(id string) bool {
	return slices.ContainsFunc(w.copies[id], func(c *Copy) bool { return w.hosts[c.Host].runs() })
}

func (w *World) lose(v *VM, why string) {
	w.losses = append(w.losses, Loss{VM: v.ID, At: w.now, Why: why})
	w.emit("lost", v.Host, v.ID, "%s", why)
	w.note(v, "DATA LOST: %s", why)
}

// note adds a line to a VM's history.
func (w *World) note(v *VM, format string, args ...any) {
	v.history = append(v.history, Entry{At: w.now, Text: fmt.Sprintf(format, args...)})
}

// History is what happened to a VM, oldest first.
func (w *World) History(id string) []Entry {
	if v := w.vms[id]; v != nil {
		return slices.Clone(v.history)
	}
	return nil
}
