package store

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// repeatAfter is how long the same warning or error of etcd isn't logged again: it
// repeats some every few seconds for each peer that is away, and ten times a second
// for one of another cluster.
const repeatAfter = time.Minute

// unimportant are warnings that etcd gives at each start of a server that is
// embedded as ours is.
func unimportant(message string) bool {
	switch message {
	case "Running http and grpc server on single port. This is not recommended for production.",
		"simple token is not cryptographically signed",
		"exceeded recommended request limit",
		"failed to get version":
		return true
	}
	return false
}

// etcdLog turns etcd's zap log into ours: its news are our details, its warnings
// and errors come at most once a minute, and what it says while it stops is not an error.
type etcdLog struct {
	log     *slog.Logger
	stop    *atomic.Bool // the store is closing
	repeats *repeats
	fields  []zapcore.Field
}

type repeats struct {
	mu   sync.Mutex
	last map[string]time.Time // by message and hint: these are constants, so there are few
}

// tooSoon says that this message was logged less than repeatAfter ago.
func (r *repeats) tooSoon(message string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.last[message]; ok && now.Sub(last) < repeatAfter {
		return true
	}
	r.last[message] = now
	return false
}

// newEtcdLog gives etcd's logger. fatal is called instead of ending the process or
// panicking when etcd can't go on (its disk is full or broken); the goroutine that
// says so ends there, as etcd relies on not coming back.
func newEtcdLog(log *slog.Logger, stop *atomic.Bool, fatal func(message string, fields map[string]any)) *zap.Logger {
	core := &etcdLog{log: log.With("component", "etcd"), stop: stop, repeats: &repeats{last: map[string]time.Time{}}}
	return zap.New(core, zap.WithFatalHook(fatalHook(fatal)), zap.WithPanicHook(fatalHook(fatal)))
}

type fatalHook func(message string, fields map[string]any)

func (h fatalHook) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	h(entry.Message, fieldMap(fields))
	runtime.Goexit()
}

func (c *etcdLog) level(e zapcore.Entry) slog.Level {
	switch {
	case e.Level <= zapcore.InfoLevel, e.Level <= zapcore.ErrorLevel && c.stop.Load(), unimportant(e.Message):
		return slog.LevelDebug
	case e.Level == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// Enabled implements zapcore.LevelEnabler; etcd's own debug output is never wanted.
func (c *etcdLog) Enabled(l zapcore.Level) bool { return l >= zapcore.InfoLevel }

// With implements zapcore.Core.
func (c *etcdLog) With(fields []zapcore.Field) zapcore.Core {
	with := *c
	with.fields = append(append([]zapcore.Field(nil), c.fields...), fields...)
	return &with
}

// Check implements zapcore.Core.
func (c *etcdLog) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.log.Enabled(context.Background(), c.level(e)) && e.Level < zapcore.DPanicLevel {
		return ce
	}
	return ce.AddCore(e, c)
}

// Write implements zapcore.Core.
func (c *etcdLog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level, hint := c.level(e), hintOf(fields)
	if level >= slog.LevelWarn && e.Level <= zapcore.ErrorLevel && c.repeats.tooSoon(e.Message+hint, e.Time) {
		return nil
	}
	var attrs []slog.Attr
	for name, value := range fieldMap(append(append([]zapcore.Field(nil), c.fields...), fields...)) {
		attrs = append(attrs, slog.Any(name, value))
	}
	if hint != "" {
		attrs = append(attrs, slog.String("hint", hint))
	}
	c.log.LogAttrs(context.Background(), level, e.Message, attrs...)
	return nil
}

// hintOf says what an error among the fields mostly means, if we know.
func hintOf(fields []zapcore.Field) string {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && unknownCA(err) {
			return anotherCA
		}
	}
	return ""
}

// Sync implements zapcore.Core.
func (c *etcdLog) Sync() error { return nil }

func fieldMap(fields []zapcore.Field) map[string]any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	return enc.Fields
}
