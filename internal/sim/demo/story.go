package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// listening is a context that ends with ctx or with the demo.
func (d *Demo) listening(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	end := context.AfterFunc(d.ctx, cancel)
	return ctx, func() { end(); cancel() }
}

// listen tells what the server says as it happens, until ctx ends.
func (d *Demo) listen(ctx context.Context) {
	after := ""
	for ctx.Err() == nil {
		_ = d.api.Events(ctx, after, func(e api.Event) error { // it ends with the demo; until then it is begun anew
			after = e.ID
			if strings.HasSuffix(e.Text, ": "+string(engine.Queued)) {
				return nil // the plan says it for all
			}
			d.tell("%s", d.line(e))
			return nil
		})
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// line is an event in one line: when, which host, what, and how long after the host was hit.
func (d *Demo) line(e api.Event) string {
	if e.Reset {
		return "… some messages were missed"
	}
	mark := " "
	if e.Severity != "info" {
		mark = "!"
	}
	after := ""
	if h, ok := d.truth.hits()[e.Host]; ok && e.At.After(h.at) {
		after = fmt.Sprintf("%+.1f s", e.At.Sub(h.at).Seconds())
	}
	text := e.Text
	if e.Host != "" && !strings.HasPrefix(text, e.Host) {
		text = e.Host + ": " + text
	}
	return fmt.Sprintf("%s %8s %s %s", e.At.Local().Format("15:04:05.0"), after, mark, text)
}
