package soak

import (
	"context"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// user is one of the cloud's users, or an operator at Nova's own command line.
var user = world.Caller{User: "somebody", Project: world.DemoProject, RequestID: "req-somebody"}

const operatorsReason = "operator: disk swap on Thursday"

// somebody does what users and operators do.
func (c *cluster) somebody(f fault, until func(func())) {
	w := c.w
	id := ""
	if ids := w.VMIDs(); f.n < len(ids) {
		id = ids[f.n]
	}
	yes, no := true, false
	var refused *world.Error
	switch f.kind {
	case deleteVM:
		refused = w.Do(user, id, "delete")
	case stopVM:
		refused = w.Do(user, id, "stop")
	case startVM:
		refused = w.Do(user, id, "start")
	case migrateVM:
		refused = w.LiveMigrate(user, id, "")
	case evacuateByOther:
		if !w.Host(f.host).On { // a careful one
			c.truth.forced[f.host] = c.truth.forced[f.host] || !w.Host(f.host).ForcedDown
			_, _, refused = w.UpdateService(user, w.Host(f.host).ServiceID, world.ServiceUpdate{ForcedDown: &yes})
			if v := w.VM(id); v != nil && v.Host == f.host && refused == nil && !c.truth.moving(id) {
				refused = w.Evacuate(user, id, "", false)
				c.truth.byOther[id] = time.Now()
			}
		}
	case disableHost:
		_, _, refused = w.UpdateService(user, w.Host(f.host).ServiceID, world.ServiceUpdate{Disabled: &yes, Reason: operatorsReason})
		c.truth.disabled[f.host], c.truth.disabledAt[f.host] = true, time.Now()
	case unforceHost:
		_, _, refused = w.UpdateService(user, w.Host(f.host).ServiceID, world.ServiceUpdate{ForcedDown: &no})
	case maintain:
		over := false
		c.ask(engine.Asked{Verb: engine.MaintenanceOn, Host: f.host, Reason: "soak"}, func() {
			if !over {
				c.truth.spared[f.host] = time.Now()
			}
		})
		until(func() {
			over = true
			c.insist(engine.Asked{Verb: engine.MaintenanceOff, Host: f.host, Reason: "soak"}, func() { delete(c.truth.spared, f.host) })
		})
	case resetVM: // an operator who sees a VM migrate for ever from a host without power, and looks no further
		if v := w.VM(id); v != nil && v.TaskState == "migrating" && !w.Host(v.Host).On {
			refused = w.Do(user, id, "reset-active")
		}
	case confirmDown: // an operator who has looked: it has no power
		if !w.Host(f.host).On {
			c.ask(engine.Asked{Verb: engine.ConfirmDown, Host: f.host, Reason: "I stand before it, its plug is out"}, func() {})
		}
	case disarm:
		over := false
		c.ask(engine.Asked{Verb: engine.Disarm, Reason: "soak"}, func() {
			if !over { // an answer that comes later tells of what is undone already
				c.truth.disarmed = time.Now()
			}
		})
		until(func() {
			over = true
			c.insist(engine.Asked{Verb: engine.Arm, Reason: "soak"}, func() { c.truth.disarmed = time.Time{} })
		})
	}
	if refused != nil {
		c.note("refused: %v", refused)
	}
}

// ask has an operator ask the leader for something. done is called when the answer was yes.
func (c *cluster) ask(ev engine.Asked, done func()) {
	c.attempt(ev, func(err error) {
		if err == nil {
			done()
		}
	})
}

// insist asks until the answer is yes, or for a while: what was never in force can't be undone. What it undoes may be in
// force no more from the moment it asks.
func (c *cluster) insist(ev engine.Asked, done func()) {
	c.people++
	tries := 0
	var try func()
	try = func() {
		tries++
		if ev.Verb == engine.Arm || ev.Verb == engine.MaintenanceOff {
			done()
		}
		c.attempt(ev, func(err error) {
			if err != nil && tries < 60 {
				c.after(time.Second, try)
				return
			}
			done()
			c.people--
		})
	}
	try()
}

func (c *cluster) attempt(ev engine.Asked, answer func(error)) {
	ev.By = "operator"
	l := c.leader()
	if l == nil || l.paused() {
		c.after(time.Second, func() { answer(context.DeadlineExceeded) })
		return
	}
	go func() {
		_, err := l.server.Operators().Ask(bg, ev)
		c.post("operator", func() {
			c.note("operator: %s %s: %v", ev.Verb, ev.Host, err)
			answer(err)
		})
	}()
}
