//go:build attack

package demo

import (
	"context"
	"syscall"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

type move struct {
	weight int
	name   string
	do     func(a *attack, host string)
}

var stranger = world.Caller{User: "f00d", Project: "f00d", RequestID: "req-stranger"}

func bmc(change func(*world.BMC)) func(*attack, string) {
	return func(a *attack, host string) { a.world(func(w *world.World) { w.SetBMC(host, change) }) }
}

func freeze(d time.Duration) func(*attack, string) {
	return func(a *attack, host string) {
		if d == 0 || d > 10*time.Second {
			a.doom(host, "frozen")
		} else {
			a.hurt(host)
		}
		a.world(func(w *world.World) { w.Freeze(host) })
		if d > 0 {
			a.later(d, "thaw", func(w *world.World) { w.Thaw(host) })
		}
	}
}

func api1(change func(*world.APIFaults)) func(*attack, string) {
	return func(a *attack, _ string) { a.world(func(w *world.World) { w.SetAPIFaults(change) }) }
}

// vmAct is what a VM's owner does to some VM of the host.
func vmAct(name string) func(*attack, string) {
	return func(a *attack, host string) {
		a.world(func(w *world.World) {
			for _, id := range w.VMIDs() {
				if v := w.VM(id); v.Host == host && a.r.IntN(3) == 0 {
					_ = w.Do(stranger, id, name)
					return
				}
			}
		})
	}
}

var moves = []move{
	{10, "power cut", func(a *attack, h string) { a.doom(h, "cut"); a.world(func(w *world.World) { w.PowerCut(h) }) }},
	{4, "freeze 5 s", freeze(5 * time.Second)},
	{4, "freeze 15 s", freeze(15 * time.Second)},
	{4, "freeze for good", freeze(0)},
	{3, "management cut", func(a *attack, h string) {
		a.hurt(h)
		a.world(func(w *world.World) { w.CutPlane(h, world.Management) })
	}},
	{2, "storage cut", func(a *attack, h string) { a.hurt(h); a.world(func(w *world.World) { w.CutPlane(h, world.Storage) }) }},
	{3, "all planes cut for 25 s", func(a *attack, h string) {
		a.doom(h, "unreachable")
		a.world(func(w *world.World) {
			for _, p := range world.Planes() {
				w.CutPlane(h, p)
			}
		})
		a.later(25*time.Second, "planes heal", func(w *world.World) {
			for _, p := range world.Planes() {
				w.HealPlane(h, p)
			}
		})
	}},
	{3, "planes heal", func(a *attack, h string) {
		a.world(func(w *world.World) {
			for _, p := range world.Planes() {
				w.HealPlane(h, p)
			}
		})
	}},
	{3, "thaw", func(a *attack, h string) { a.world(func(w *world.World) { w.Thaw(h) }) }},
	{3, "self reboot", func(a *attack, h string) {
		a.doom(h, "reboots")
		pause := a.span(0, 6*time.Second)
		a.world(func(w *world.World) { w.Reboot(h, pause) })
	}},
	{4, "somebody powers on", func(a *attack, h string) { a.world(func(w *world.World) { w.PowerOn(h) }) }},
	{2, "agent killed", func(a *attack, h string) { a.hurt(h); a.world(func(w *world.World) { w.KillAgent(h) }) }},
	{2, "agent started", func(a *attack, h string) { a.world(func(w *world.World) { w.StartAgent(h) }) }},
	{2, "agent of a healthy host killed", func(a *attack, h string) {
		o := a.other(h)
		a.hurt(o)
		a.world(func(w *world.World) { w.KillAgent(o) })
		a.later(8*time.Second, "agent back", func(w *world.World) { w.StartAgent(o) })
	}},
	{2, "hang", func(a *attack, h string) {
		a.hurt(h)
		a.world(func(w *world.World) { w.Hang(h) })
		a.later(20*time.Second, "unhang", func(w *world.World) { w.Unhang(h) })
	}},
	{2, "BMC dead", bmc(func(b *world.BMC) { b.Dead = true })},
	{2, "BMC slow", bmc(func(b *world.BMC) { b.Slow = 2 * time.Second })},
	{2, "BMC lies", bmc(func(b *world.BMC) { b.Lying = true })},
	{2, "BMC lags", bmc(func(b *world.BMC) { b.Lag = 8 * time.Second })},
	{1, "BMC without stand-by power", bmc(func(b *world.BMC) { b.DiesToo = true })},
	{2, "BMC refuses off", bmc(func(b *world.BMC) { b.RefusesOff = true; b.RefuseOn = 5 * time.Second })},
	{3, "BMC swapped", func(a *attack, h string) {
		o := a.other(h)
		a.world(func(w *world.World) { w.SetBMC(h, func(b *world.BMC) { b.Machine = o }) })
	}},
	{3, "BMC healed", func(a *attack, h string) {
		a.world(func(w *world.World) {
			w.SetBMC(h, func(b *world.BMC) { *b = world.BMC{Driver: b.Driver, User: b.User, Password: b.Password, Machine: h} })
		})
	}},
	{4, "Nova out", func(a *attack, _ string) {
		d := a.span(2*time.Second, 20*time.Second)
		a.world(func(w *world.World) { w.NovaOutage(d) })
	}},
	{3, "Nova fails 1 of 4", api1(func(f *world.APIFaults) { f.Fail = 0.25 })},
	{2, "Nova conflicts", api1(func(f *world.APIFaults) { f.Conflict = 0.4 })},
	{2, "Nova slow", api1(func(f *world.APIFaults) { f.Slow = 1500 * time.Millisecond })},
	{4, "answers lost", api1(func(f *world.APIFaults) { f.LoseNext = 3 })},
	{4, "delivered late", api1(func(f *world.APIFaults) { f.HoldNext, f.HoldFor, f.GaveUp = 3, 30*time.Second, 5*time.Second })},
	{2, "Nova healed", api1(func(f *world.APIFaults) { *f = world.APIFaults{} })},
	{2, "tokens revoked", func(a *attack, _ string) { a.d.cloud.RevokeTokens() }},
	{4, "a destination dies", func(a *attack, h string) {
		dest := ""
		a.world(func(w *world.World) {
			page, _, _ := w.Migrations(world.MigrationQuery{Type: "evacuation"})
			for _, m := range page {
				if m.Open() && m.Dest != "" {
					dest = m.Dest
				}
			}
			if dest != "" {
				a.doom(dest, "destination cut")
				w.PowerCut(dest)
			}
		})
	}},
	{2, "disarm", func(a *attack, _ string) {
		a.do("disarm", func(ctx context.Context) error { _, err := a.d.api.Disarm(ctx, "attack"); return err })
	}},
	{4, "arm", func(a *attack, _ string) { a.do("arm", a.rearm) }},
	{2, "maintenance", func(a *attack, h string) {
		a.do("maintenance", func(ctx context.Context) error { _, err := a.d.api.HostMaintenance(ctx, h, true, "attack"); return err })
	}},
	{2, "maintenance off", func(a *attack, h string) {
		a.do("maintenance off", func(ctx context.Context) error { _, err := a.d.api.HostMaintenance(ctx, h, false, ""); return err })
	}},
	{2, "confirm-down, wrongly if it lives", func(a *attack, h string) {
		silent := false // the operator is believed where nobody can know better
		a.world(func(w *world.World) {
			x := w.Host(h)
			silent = x.On && (x.Frozen || x.IsCut(world.Management) && x.IsCut(world.Storage) && x.IsCut(world.Tenant))
		})
		if !silent {
			a.do("confirm-down", func(ctx context.Context) error { _, err := a.d.api.ConfirmDown(ctx, h, "attack"); return err })
		}
	}},
	{2, "retry", func(a *attack, h string) { a.onIncident(h, "retry") }},
	{1, "abort", func(a *attack, h string) { a.onIncident(h, "abort") }},
	{2, "un-force in Nova", func(a *attack, h string) {
		a.world(func(w *world.World) {
			no := false
			_, _, err := w.UpdateService(stranger, w.Host(h).ServiceID, world.ServiceUpdate{ForcedDown: &no, Disabled: &no})
			_ = err // refused is fine
		})
	}},
	{2, "somebody else evacuates", func(a *attack, h string) {
		a.world(func(w *world.World) {
			for _, id := range w.VMIDs() {
				v := w.VM(id)
				if page, _, _ := w.Migrations(world.MigrationQuery{VM: id, Type: "evacuation"}); v.Host != h || len(page) > 0 || w.Host(h).On {
					continue
				}
				a.mu.Lock()
				a.others[id] = time.Now()
				a.mu.Unlock()
				_ = w.Evacuate(stranger, id, "", false)
				return
			}
		})
	}},
	{2, "VM deleted", vmAct("delete")},
	{2, "VM stopped", vmAct("stop")},
	{2, "VM started", vmAct("start")},
	{2, "VM rebooted", vmAct("reboot")},
	{6, "server killed", func(a *attack, _ string) {
		if !a.down {
			a.p.signal(syscall.SIGKILL)
			a.down = true
			pause(a.t.Context(), a.span(0, 8*time.Second))
			if err := a.p.start(); err != nil {
				a.t.Fatal(err)
			}
			a.down = false
		}
	}},
	{3, "server stands still", func(a *attack, _ string) {
		a.p.signal(syscall.SIGSTOP)
		pause(a.t.Context(), a.span(1*time.Second, 20*time.Second))
		a.p.signal(syscall.SIGCONT)
	}},
}

func (a *attack) rearm(ctx context.Context) error {
	_, err := a.d.api.Arm(ctx, api.ArmRequest{Force: true, Reason: "attack"})
	return err
}

func (a *attack) onIncident(host, act string) {
	a.do(act+" "+host, func(ctx context.Context) error {
		list, err := a.d.api.Incidents(ctx, "all", host)
		if err != nil {
			return err
		}
		for _, in := range list {
			if in.Phase == engine.PhaseClosed {
				continue
			}
			if act == "abort" {
				_, err = a.d.api.Abort(ctx, in.ID, "attack")
			} else {
				_, err = a.d.api.Retry(ctx, in.ID, "", "attack")
			}
		}
		return err
	})
}
