package cloud

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestSince(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 2, 3, minute, 0, 0, time.UTC) }
	records := []Migration{{Created: at(1), Updated: at(7)}, {Created: at(5)}}
	for name, tc := range map[string]struct {
		list MigrationList
		want time.Time
	}{
		"the answer's date":             {MigrationList{Migrations: records, Date: at(10)}, at(9)},
		"no date: the newest record":    {MigrationList{Migrations: records}, at(6)},
		"no date, no record: all again": {MigrationList{}, time.Time{}},
	} {
		if got := tc.list.Since(); !got.Equal(tc.want) {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

func TestRefused(t *testing.T) {
	err := fmt.Errorf("cannot evacuate: %w", &Refused{Status: 404})
	if !errors.Is(err, ErrNotFound) || errors.Is(err, ErrNotSent) || err.Error() != "cannot evacuate: refused (404): Not Found" {
		t.Errorf("got %v", err)
	}
	if errors.Is(&Refused{Status: 400}, ErrNotFound) {
		t.Error("every refusal is a not found")
	}
}
