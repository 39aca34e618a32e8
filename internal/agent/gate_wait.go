package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport"
)

const (
	gatePoll = 250 * time.Millisecond
	gateSays = 30 * time.Second
)

// WaitGate blocks until the gate of this boot is open, or ctx ends: it has no timeout of its own. It says on out why it
// waits, when that changes and every 30 s. It needs no running agent to be told by an operator; without one it says so.
func WaitGate(ctx context.Context, cfg Config, out io.Writer) error {
	tick := time.NewTicker(gatePoll)
	defer tick.Stop()
	var said string
	var next time.Time
	for {
		g, why, err := lookAtGate(cfg)
		if err != nil {
			why = "closed: " + err.Error()
		}
		if err == nil && g.Open {
			return say(out, "gate: open: "+g.Reason)
		}
		if why != said || !time.Now().Before(next) {
			said, next = why, time.Now().Add(gateSays)
			if err := say(out, "gate: "+why+"\ngate: nova-compute and guests do not start before it opens. By hand, if you are sure that none of this host's VMs runs elsewhere:"+
				" ninelives gate --open --reason \"…\""); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the gate is still closed (%s): %w", why, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func say(out io.Writer, text string) error {
	if _, err := fmt.Fprintln(out, text); err != nil {
		return fmt.Errorf("cannot say how the gate stands: %w", err)
	}
	return nil
}

// lookAtGate reads the gate as it stands for this boot, and why it is closed.
func lookAtGate(cfg Config) (gateRecord, string, error) {
	boot, err := readBoot(cfg.Proc)
	if err != nil {
		return gateRecord{}, "", err
	}
	stored, err := readGate(cfg.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return gateRecord{}, "", err
	}
	g := stored.forBoot(boot.String())
	if !agentRuns(cfg.Data) {
		return g, "closed: no agent runs in " + cfg.Data + " that servers could tell (systemctl status ninelives-agent)", nil
	}
	text, err := os.ReadFile(dataFile(cfg.Data, waitingFile))
	if err != nil {
		return g, "closed: " + g.Reason, nil
	}
	return g, "closed: " + strings.TrimSpace(string(text)), nil
}

// OpenByHand opens the gate of this boot on an operator's word, with or without an agent or a server. VMs that were
// forbidden stay forbidden; how many is returned.
func OpenByHand(cfg Config, reason string) (forbidden int, err error) {
	reason = strings.TrimSpace(reason)
	if reason == "" {
		return 0, errors.New("cannot open the gate: a reason is wanted (--reason), for those who ask later")
	}
	if who, err := user.Current(); err == nil {
		reason += " (" + who.Username + ")"
	}
	boot, err := readBoot(cfg.Proc)
	if err != nil {
		return 0, fmt.Errorf("cannot open the gate: %w", err)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return 0, fmt.Errorf("cannot open the gate: %w", err)
	}
	rec, _, err := changeGate(cfg.Data, gateRecord{}.forBoot(boot.String()), func(g gateRecord) (gateRecord, error) { return g.byHand(reason, sinceBoot()), nil })
	if err != nil {
		return 0, fmt.Errorf("cannot open the gate: %w", err)
	}
	return len(rec.Forbidden), nil
}

// readBoot reads this life of the machine.
func readBoot(proc string) (transport.Boot, error) {
	text, err := os.ReadFile(filepath.Join(proc, "sys/kernel/random/boot_id"))
	if err != nil {
		return transport.Boot{}, fmt.Errorf("cannot tell this boot: %w", err)
	}
	return transport.ParseBoot(string(text))
}
