package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

// Message is a sentence of the story as it unfolds, for logs and the event stream.
type Message struct {
	ID       uint64    `json:"id"`
	At       time.Time `json:"at"`
	Severity string    `json:"severity"`
	Code     string    `json:"code,omitempty"`
	Host     string    `json:"host,omitempty"`
	Incident string    `json:"incident,omitempty"`
	VM       string    `json:"vm,omitempty"`
	Text     string    `json:"text"`
}

// trail passes notes to the log and to whoever listens. A listener that doesn't keep up misses messages and can tell so
// by their numbers; the records miss nothing.
type trail struct {
	log   *slog.Logger
	count func(engine.Note)

	mu        sync.Mutex
	last      uint64
	recent    []Message // the newest keepRecent
	listeners map[chan Message]bool
}

const keepRecent = 500

func newTrail(log *slog.Logger, count func(engine.Note)) *trail {
	return &trail{log: log, count: count, listeners: map[chan Message]bool{}}
}

func (t *trail) note(n engine.Note) {
	t.count(n)
	level := slog.LevelInfo
	switch n.Severity {
	case engine.Warning:
		level = slog.LevelWarn
	case engine.Critical:
		level = slog.LevelError
	}
	attrs := []any{"text", n.Text}
	for _, a := range [][2]string{{"host", n.Host}, {"incident", n.Incident}, {"vm", n.VM}, {"code", n.Code}} {
		if a[1] != "" {
			attrs = append(attrs, a[0], a[1])
		}
	}
	t.log.Log(context.Background(), level, "story", attrs...)

	t.mu.Lock()
	defer t.mu.Unlock()
	t.last++
	m := Message{ID: t.last, At: time.Now(), Severity: n.Severity.String(), Code: n.Code, Host: n.Host, Incident: n.Incident, VM: n.VM, Text: n.Text}
	t.recent = append(t.recent, m)
	if len(t.recent) > keepRecent {
		t.recent = t.recent[len(t.recent)-keepRecent:]
	}
	for ch := range t.listeners {
		select {
		case ch <- m:
		default:
		}
	}
}

// listen returns the messages after the given number that are still kept, and a channel of those to come.
func (t *trail) listen(after uint64) ([]Message, chan Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ch := make(chan Message, 256)
	t.listeners[ch] = true
	var missed []Message
	for _, m := range t.recent {
		if m.ID > after {
			missed = append(missed, m)
		}
	}
	return missed, ch
}

func (t *trail) leave(ch chan Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.listeners, ch)
}
