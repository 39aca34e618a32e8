package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/agent"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

// boots writes what the gate and libvirt's hook read of the kernel.
func (h *host) boots(boot string) error {
	file := filepath.Join(h.config.Proc, "sys/kernel/random/boot_id")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(boot+"\n"), 0o600)
}

// gate is ninelives-gate.service, which nova-compute waits for, and after it libvirt, which asks the hook before it
// starts a guest.
func (h *host) gate(ctx context.Context) {
	if err := agent.WaitGate(ctx, h.config, io.Discard); err != nil {
		if ctx.Err() == nil {
			h.log.Error("a gate can't be watched", "host", h.name, "error", err)
		}
		return
	}
	h.hook()
	h.cloud.World(func(w *world.World) { w.OpenGate(h.name) })
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.hook()
		}
	}
}

// hook asks the real libvirt hook about every VM that Nova ever evacuated from this host, or
// would build here after its return, whenever the gate's record
// has changed: what it refuses, the world's libvirt refuses.
func (h *host) hook() {
	info, err := os.Stat(filepath.Join(h.config.Data, "gate.json"))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			h.log.Error("the gate's record can't be read", "host", h.name, "error", err)
		}
		return
	}
	moved := h.truth.movedFrom(h.name)
	state := fmt.Sprint(info.ModTime(), len(moved))
	if state == h.hooked {
		return
	}
	h.hooked = state
	var denied []string
	for _, id := range moved {
		if agent.Hook(agent.HookRequest{
			ConfigPath: h.yaml, Args: []string{"instance-" + id[:8], "prepare", "begin", "-"}, Stderr: io.Discard,
			Stdin: strings.NewReader("<domain type='kvm'><name>instance</name><uuid>" + id + "</uuid></domain>"),
		}) != 0 {
			denied = append(denied, id)
		}
	}
	h.cloud.World(func(w *world.World) { w.DenyGuests(h.name, denied) })
}
