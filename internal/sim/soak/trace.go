package soak

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

var bg = context.Background()

// logTo puts a server's log into the trace, when it is kept.
type logTo struct {
	c     *cluster
	l     *life
	attrs []slog.Attr
}

func (h logTo) Enabled(_ context.Context, level slog.Level) bool {
	return h.c.keep && level >= slog.LevelInfo
}

func (h logTo) Handle(_ context.Context, r slog.Record) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%9.4f     %s: %s", time.Since(h.c.began).Seconds(), h.l, r.Message)
	add := func(a slog.Attr) bool {
		if a.Key != "server" && a.Key != "epoch" {
			fmt.Fprintf(&text, " %s=%v", a.Key, a.Value)
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	line := text.String()
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	h.c.lines = append(h.c.lines, line)
	return nil
}

func (h logTo) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logTo{h.c, h.l, append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)}
}

func (h logTo) WithGroup(string) slog.Handler { return h }

// transportOpen is the gate order with which a host's first boot was let in.
func transportOpen(boot string) *agentv1.GateOrder {
	b, _ := transport.ParseBoot(boot) // the world makes boots
	return &agentv1.GateOrder{Generation: 1, Epoch: 1, Open: true, Reason: "it was so", Boot: b.Bytes()}
}
