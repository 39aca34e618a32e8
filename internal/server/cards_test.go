package server

import (
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/store"
)

// TestTwin: a server that finds another run's words on its own card, after it has written it, ends.
func TestTwin(t *testing.T) {
	t.Parallel()
	s := led(t, &quietCloud{}, Options{})
	waitFor(t, "its card is there", func() bool {
		s.cards.mu.RLock()
		defer s.cards.mu.RUnlock()
		return s.cards.mine != 0 && s.cards.of["server-1"].Run != ""
	})
	other := s.cards.get("server-1")
	other.Run, other.Agents = "another", []string{"10.0.0.9:7401"}
	value, err := store.Encode(1, other)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.store.Announce(t.Context(), value); err != nil {
		t.Fatal(err)
	}
	if err := <-s.Failed(); !strings.Contains(err.Error(), "another process runs as server-1") || !strings.Contains(err.Error(), "10.0.0.9:7401") {
		t.Errorf("it ends with %v", err)
	}
}
