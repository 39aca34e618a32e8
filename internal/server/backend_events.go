package server

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
)

// Events implements api.Backend.
func (b *backend) Events(ctx context.Context, after string, send func(api.Event) error) error {
	life := b.life()
	from, same := place(after, life)
	kept, live := b.s.trail.listen(from)
	defer b.s.trail.leave(live)
	last := from
	if after == "" {
		last = 0 // nothing was seen, so nothing can have been missed
	} else if !same {
		if err := send(reset(life, 0)); err != nil {
			return err
		}
	}
	pass := func(m Message) error {
		if last != 0 && m.ID != last+1 || last == 0 && same && m.ID > 1 {
			if err := send(reset(life, m.ID-1)); err != nil {
				return err
			}
		}
		last = m.ID
		return send(api.Event{
			ID: eventID(life, m.ID), At: m.At, Severity: m.Severity, Code: m.Code, Host: m.Host, Incident: m.Incident, VM: m.VM, Text: m.Text,
		})
	}
	for _, m := range kept {
		if err := pass(m); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-b.s.ctx.Done():
			return nil
		case m := <-live:
			if err := pass(m); err != nil {
				return err
			}
		}
	}
}

// place is the number that an event's ID names, and whether it is one of this life's. Without an ID it is behind all.
func place(after, life string) (uint64, bool) {
	if after == "" {
		return math.MaxUint64, false
	}
	its, number, _ := strings.Cut(after, ".")
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || its != life {
		return 0, false
	}
	return n, true
}

func eventID(life string, n uint64) string { return fmt.Sprintf("%s.%d", life, n) }

func reset(life string, n uint64) api.Event {
	return api.Event{ID: eventID(life, n), At: time.Now(), Severity: "info", Reset: true, Text: "messages were missed; read again what matters"}
}
