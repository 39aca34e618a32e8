package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// hunt is the second net behind the libvirt hook: VMs that must not run here are ended when they do. a.list.mu is held.
func (a *Agent) hunt(guests []Guest) {
	hunted := a.gate.hunted()
	for _, g := range guests {
		if !slices.Contains(hunted, g.UUID) || g.State == agentv1.GuestState_GUEST_STATE_EXITING {
			continue
		}
		if !a.alerts.begin(g.UUID) {
			continue // under way
		}
		a.wg.Go(func() {
			defer a.alerts.end(g.UUID)
			ctx, cancel := context.WithTimeout(a.ctx, killTime)
			defer cancel()
			n, err := a.machine.Kill(ctx, g.UUID)
			text := fmt.Sprintf("%s ran VM %s, which was brought back elsewhere: its QEMU here was ended", a.host, g.UUID)
			if err != nil {
				text = fmt.Sprintf("%s runs VM %s, which was brought back elsewhere, and cannot end its QEMU: %v", a.host, g.UUID, err)
			}
			a.log.Error("a VM ran here that must not", "vm", g.UUID, "pid", g.PID, "ended", n, "error", err)
			a.alerts.add(g.UUID, text)
			a.wake()
		})
	}
}

// alertsKept bounds what waits for a server; of more, the oldest are worth the most.
const alertsKept = 50

// alerts wait until a server hears them.
type alerts struct {
	mu      sync.Mutex
	waiting []*agentv1.Alert
	hunting []string // VMs that are being ended
}

func (l *alerts) add(vm, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := func(o *agentv1.Alert) bool { return o.GetUuid() == vm && o.GetText() == text }
	if len(l.waiting) < alertsKept && !slices.ContainsFunc(l.waiting, same) {
		l.waiting = append(l.waiting, &agentv1.Alert{Text: text, Uuid: vm})
	}
}

// deliver sends what waits to all servers; what none took waits on.
func (l *alerts) deliver(send func(*agentv1.FromAgent) int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) > 0 && send(&agentv1.FromAgent{Kind: &agentv1.FromAgent_Alert{Alert: l.waiting[0]}}) > 0 {
		l.waiting = l.waiting[1:]
	}
}

func (l *alerts) begin(vm string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.hunting, vm) {
		return false
	}
	l.hunting = append(l.hunting, vm)
	return true
}

func (l *alerts) end(vm string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hunting = slices.DeleteFunc(l.hunting, func(o string) bool { return o == vm })
}
