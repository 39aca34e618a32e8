package world

import (
	"slices"
	"time"
)

// LiveMigrate moves a running VM by Nova's rules. At the switch-over the guest
// is on the destination at once; Nova's record names it only a moment later,
// and only if the source's nova-compute lives to write it.
func (w *World) LiveMigrate(c Caller, id, target string) *Error {
	v, err := w.find(id)
	if err != nil {
		return err
	}
	if err := needState(v, "os-migrateLive", Active, Paused); err != nil {
		return err
	}
	if target != "" && w.hosts[target] == nil {
		return refuse(400, "Compute host %s could not be found.", target)
	}
	if !w.ServiceUp(v.Host) {
		return refuse(400, "Compute service of %s is unavailable at this time.", v.Host)
	}
	src, dest := w.hosts[v.Host], w.pick(v, target)
	w.addAction(c, v, "live-migration")
	m := w.addMigration(c, v, "live-migration", v.Host, "", "accepted")
	if dest == nil {
		w.setMigration(m, "error")
		return nil
	}
	w.setTask(v, "migrating")
	m.Dest = dest.Name
	w.setMigration(m, "running")
	w.emit("live-migration", src.Name, id, "to %s", dest.Name)
	w.whenWorks(src, w.draw(w.opt.Timing.LiveMigration), func() { w.switchOver(v, m, src, dest) }, func() {})
	return nil
}

func (w *World) switchOver(v *VM, m *Migration, src, dest *Host) {
	// libvirt asks the destination's hook before anything moves: refused there, the guest goes on where it is.
	if w.vms[v.ID] == nil || !w.hasCopy(v.ID, src.Name) || !dest.runs() || !dest.ComputeRuns || dest.denied[v.ID] {
		w.setMigration(m, "error")
		w.setTask(v, "")
		return
	}
	w.endCopy(v.ID, src.Name, "migrated away")
	w.startCopy(v, dest, "live migration")
	w.whenWorks(src, w.draw(w.opt.Timing.PostMigration), func() {
		if w.vms[v.ID] == nil {
			return
		}
		v.Host = dest.Name
		w.setTask(v, "")
		w.setMigration(m, "completed")
		w.note(v, "Nova's record says %s", dest.Name)
	}, func() {})
}

// Resize moves a VM cold to another host (a flavor of its own is not modelled)
// and leaves it to be confirmed.
func (w *World) Resize(c Caller, id string, cold bool) *Error {
	v, err := w.find(id)
	if err != nil {
		return err
	}
	kind, action := "resize", "resize"
	if cold {
		kind, action = "migration", "migrate"
	}
	if err := needState(v, action, Active, Stopped); err != nil {
		return err
	}
	src, dest := w.hosts[v.Host], w.pick(v, "")
	if dest == nil {
		return refuse(400, "No valid host was found.")
	}
	w.addAction(c, v, action)
	m := w.addMigration(c, v, kind, src.Name, dest.Name, "migrating")
	w.setTask(v, "resize_migrating")
	ran := v.VMState == Active
	w.whenWorks(src, w.draw(w.opt.Timing.Resize), func() {
		if w.vms[id] == nil {
			w.setMigration(m, "error")
			return
		}
		w.endCopy(v.ID, src.Name, "moved cold")
		w.setMigration(m, "post-migrating")
		w.setTask(v, "resize_finish")
		w.castTo(dest, "finish_resize", func() {
			if w.vms[v.ID] == nil {
				return
			}
			if ran {
				w.startCopy(v, dest, "resize")
			}
			v.Host = dest.Name
			w.setState(v, Resized)
			w.setMigration(m, "finished")
		})
	}, func() {})
	return nil
}

// ConfirmResize ends a resize.
func (w *World) ConfirmResize(c Caller, id string) *Error {
	v, err := w.find(id)
	if err != nil {
		return err
	}
	if err := needState(v, "confirmResize", Resized); err != nil {
		return err
	}
	w.addAction(c, v, "confirmResize")
	for _, m := range w.migrations {
		if m.VM == id && m.Status == "finished" {
			w.setMigration(m, "confirmed")
		}
	}
	w.setState(v, Active)
	return nil
}

func (w *World) addMigration(c Caller, v *VM, kind, source, dest, status string) *Migration {
	m := &Migration{
		ID: len(w.migrations) + 1, UUID: w.uuid(), Type: kind, Status: status, VM: v.ID, Source: source, Dest: dest,
		User: c.User, Project: c.Project, Created: w.now, Updated: w.now,
	}
	w.migrations = append(w.migrations, m)
	return m
}

func (w *World) setMigration(m *Migration, status string) {
	m.Status, m.Updated = status, w.now
	w.emit("migration", m.Source, m.VM, "%d %s to %q: %s", m.ID, m.Type, m.Dest, status)
}

// MigrationQuery narrows Migrations.
type MigrationQuery struct {
	Type, Source, Host, VM, Status string
	User, Project                  string
	Since                          time.Time
	Marker                         string // uuid
	Limit                          int
}

// Migrations lists records, newest first, one page.
func (w *World) Migrations(q MigrationQuery) (page []Migration, more bool, err *Error) {
	limit := w.opt.MaxLimit
	if q.Limit > 0 {
		limit = min(q.Limit, limit)
	}
	skip := q.Marker != ""
	if skip && !slices.ContainsFunc(w.migrations, func(m *Migration) bool { return m.UUID == q.Marker }) {
		return nil, false, refuse(400, "Marker %s could not be found.", q.Marker)
	}
	for _, m := range slices.Backward(w.migrations) {
		if skip {
			skip = m.UUID != q.Marker
			continue
		}
		if !q.matches(m) {
			continue
		}
		if len(page) == limit {
			return page, true, nil
		}
		page = append(page, *m)
	}
	return page, false, nil
}

func (q MigrationQuery) matches(m *Migration) bool {
	same := func(want, have string) bool { return want == "" || want == have }
	return same(q.Type, m.Type) && same(q.Source, m.Source) && same(q.VM, m.VM) && same(q.Status, m.Status) &&
		same(q.User, m.User) && same(q.Project, m.Project) &&
		(q.Host == "" || q.Host == m.Source || q.Host == m.Dest) &&
		(q.Since.IsZero() || !m.Updated.Before(q.Since))
}

func (w *World) addAction(c Caller, v *VM, name string) {
	w.actions[v.ID] = append(w.actions[v.ID], &Action{
		RequestID: c.RequestID, Name: name, User: c.User, Project: c.Project, Start: w.now, Updated: w.now,
	})
}

// Actions lists what was asked of a VM, newest first.
func (w *World) Actions(id string) ([]Action, *Error) {
	if _, err := w.find(id); err != nil {
		return nil, err
	}
	var out []Action
	for _, a := range slices.Backward(w.actions[id]) {
		out = append(out, *a)
	}
	return out, nil
}
