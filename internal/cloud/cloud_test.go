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
	err := fmt.Errorf("cannot evacuate: %w", &Refused{Status: 404, RequestID: "req-1"})
	if !errors.Is(err, ErrNotFound) || errors.Is(err, ErrNotSent) || err.Error() != "cannot evacuate: refused (404): Not Found (req-1)" {
		t.Errorf("got %v", err)
	}
	for _, no := range []*Refused{{Status: 400, RequestID: "req-1"}, {Status: 404, Message: "a proxy's"}} {
		if errors.Is(no, ErrNotFound) {
			t.Errorf("%v passes for not found", no)
		}
	}
}
