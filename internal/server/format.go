package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/ninelives-ha/ninelives/internal/store"
)

// formatKey says which format of records the servers write. While servers of two versions run together it is the older
// one's; the leader raises it once every server has said that it reads the newer. From then on there is no way back.
const formatKey = "format"

// formatRecord is the value of formatKey. Its own format never changes.
type formatRecord struct {
	Format int `json:"format"`
}

// reads is the newest format of records that this server can read.
func (s *Server) reads() int {
	if s.o.Knows > 0 {
		return s.o.Knows
	}
	return format
}

// written is the format of records that all servers write, as last seen.
func (s *Server) written() int { return int(max(format, s.formatNow.Load())) }

// checkFormat is nil if this server can read all that is written. It comes before any record is read: a record whose
// meaning has changed may still look well.
func (s *Server) checkFormat(records []store.Record) error {
	for _, rec := range records {
		if rec.Key != formatKey {
			continue
		}
		var f formatRecord
		if _, err := store.Decode(rec, 1, &f); err != nil {
			return err
		}
		s.formatNow.Store(int64(f.Format))
		if f.Format > s.reads() {
			return fmt.Errorf("the records' format is %d, this server (version %s) reads up to %d: %w", f.Format, either(s.o.Version, "unknown"), s.reads(), store.ErrNewer)
		}
	}
	return nil
}

// tooOld gives the leadership to a server that reads what this one can't. It reports whether that was the trouble.
func (s *Server) tooOld(ctx context.Context, err error) bool {
	if !errors.Is(err, store.ErrNewer) {
		s.outdated.Store(nil)
		return false
	}
	text := fmt.Sprintf("%s can't lead: %v; upgrade it", s.cfg.Name, err)
	s.outdated.Store(&text)
	var able []string
	for _, card := range s.cards.all() {
		if card.Name != s.cfg.Name && card.Format > s.reads() {
			able = append(able, card.Name)
		}
	}
	s.log.Error("the records are of a newer version than this server; it doesn't lead", "error", err, "can", few(able))
	if len(able) == 0 {
		return true // nobody else is known to; it is tried again
	}
	if err := s.store.Resign(ctx, able...); err != nil && ctx.Err() == nil {
		s.log.Warn("nobody took the leadership over yet", "error", err)
	}
	return true
}

// raiseFormat lets all servers write the newest format that every one of them can read. A server that has said nothing, or
// doesn't run, keeps it where it is.
func (s *Server) raiseFormat(r *reign, st store.Status) {
	lowest := s.reads()
	for _, m := range st.Members {
		lowest = min(lowest, s.cards.get(m.Name).Format)
	}
	if len(st.Members) == 0 || lowest <= s.written() {
		return
	}
	value, err := store.Encode(1, formatRecord{Format: lowest})
	if err == nil {
		_, err = s.store.Commit(r.ctx, r.epoch, store.Put(formatKey, value))
	}
	if err != nil {
		if r.ctx.Err() == nil {
			s.log.Warn("the records' format was not raised; tried again", "to", lowest, "error", err)
		}
		return
	}
	s.formatNow.Store(int64(lowest))
	s.log.Info("all servers read it: from now on the records have a newer format", "format", lowest)
}
