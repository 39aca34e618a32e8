package server

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/store"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

type text struct {
	Text string `json:"text"`
}

// What doesn't fit into one transaction is split; deletions count as well, since the engine sweeps thousands at once.
func TestTransactionsFitTheStore(t *testing.T) {
	var records []engine.Record
	for i := range 3 * store.MaxOps {
		records = append(records, engine.Record{Key: fmt.Sprintf("incidents/i/servers/%05d", i)})
	}
	for i := range 9 {
		records = append(records, engine.Record{Key: fmt.Sprintf("incidents/%d", i), Value: text{strings.Repeat("x", store.MaxBytes/4)}})
	}
	txs, err := transactions(records)
	if err != nil {
		t.Fatal(err)
	}
	ops := 0
	for i, tx := range txs {
		if len(tx) > store.MaxOps {
			t.Errorf("transaction %d has %d operations", i, len(tx))
		}
		ops += len(tx)
	}
	if ops != len(records) || len(txs) < 7 {
		t.Errorf("%d operations in %d transactions, want %d in at least 7", ops, len(txs), len(records))
	}
	if _, err := transactions([]engine.Record{{Key: "incidents/big", Value: text{strings.Repeat("x", store.MaxBytes)}}}); err == nil || !strings.Contains(err.Error(), "incidents/big") {
		t.Errorf("a record that can never be written: %v, want an error that names it", err)
	}
}

func TestABatchKeepsTheLastValueAndTheOrder(t *testing.T) {
	b := &batch{}
	b.add(engine.Effects{Records: []engine.Record{{Key: "hosts/h", Value: 1}, {Key: "incidents/i", Value: 1}}})
	b.add(engine.Effects{Records: []engine.Record{{Key: "incidents/i/servers/v", Value: 2}, {Key: "incidents/i", Value: 2}, {Key: "hosts/h"}}})
	var got []string
	for _, r := range b.records() {
		got = append(got, fmt.Sprint(r.Key, "=", r.Value))
	}
	if want := "[incidents/i/servers/v=2 incidents/i=2 hosts/h=<nil>]"; fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %v: VMs before their incident, incidents before hosts, the last value of each", got, want)
	}
}

// What was decided is not begun unless it is written: a deposed leader's commit fails, and nothing of its batch happens.
func TestNothingIsBegunThatWasNotWritten(t *testing.T) {
	t.Parallel()
	s := led(t, &quietCloud{}, Options{})
	r := s.reign.Load()
	deposed := &reign{
		s: s, log: discard(), epoch: r.epoch - 1, ctx: r.ctx, in: newInbox(), reads: make(chan struct{}, 1),
		asked: map[string]chan engine.Reply{"a": make(chan engine.Reply, 1)}, flying: map[string]*flight{},
	}
	b := &batch{}
	b.add(engine.Effects{
		Records: []engine.Record{{Key: "incidents/i", Value: text{"intent"}}},
		Actions: []engine.Action{{ID: "1.1", Do: engine.Start, VM: "vm-1", Deadline: time.Now().Add(time.Minute)}}, // would panic
		Replies: []engine.Reply{{Asked: "a", OK: true}},
	})
	if deposed.settle(b) {
		t.Error("the reign goes on after its commit was refused")
	}
	deposed.acts.Wait()
	if len(deposed.flying) != 0 || len(deposed.asked["a"]) != 0 {
		t.Errorf("in flight: %v, replies: %d, want none", deposed.flying, len(deposed.asked["a"]))
	}
	if _, err := s.store.Get(t.Context(), "incidents/i"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the record of a deposed leader: %v", err)
	}
}

func TestThePermitOfAFlight(t *testing.T) {
	t.Parallel()
	s := led(t, &quietCloud{}, Options{})
	r := s.reign.Load()
	good, err := s.store.Commit(t.Context(), r.epoch)
	if err != nil {
		t.Fatal(err)
	}
	fresh := &flight{r: r, committed: good}
	if err := fresh.permit(); err != nil {
		t.Errorf("a fresh permit: %v", err)
	}
	late := &flight{r: r} // the zero permit has run out
	if err := late.permit(); err != nil {
		t.Errorf("a late one proves the leadership anew: %v", err)
	}
	why := "disarmed"
	for _, f := range []*flight{fresh, late} {
		f.withdrawn.Store(&why)
		if err := f.permit(); err == nil || !strings.Contains(err.Error(), "disarmed") {
			t.Errorf("a withdrawn act: %v", err)
		}
	}
	deposed := &flight{r: &reign{s: s, epoch: r.epoch - 1, ctx: r.ctx}}
	if err := deposed.permit(); !errors.Is(err, store.ErrDeposed) {
		t.Errorf("a deposed leader's act: %v", err)
	}
	ended := &flight{r: r, committed: good}
	r.end()
	if err := ended.permit(); err == nil {
		t.Error("an act of a reign that has ended was permitted, while the leadership stands")
	}
}

// A reign that ends while the leadership stands is followed by one that has read the records.
func TestAReignThatFailedIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	s := led(t, &quietCloud{}, Options{})
	r := s.reign.Load()
	if reply, err := r.ask(t.Context(), engine.Asked{ID: "1", By: "a", Verb: engine.Disarm, Reason: "rehearsal"}); err != nil || !reply.OK {
		t.Fatal(reply, err)
	}
	r.end() // as after a commit that failed
	waitFor(t, "another reign", func() bool { n := s.reign.Load(); return n != nil && n != r })
	next := s.reign.Load()
	var sw engine.Switches
	if err := next.read(t.Context(), func(e *engine.Engine) { sw, _ = e.Switches() }); err != nil || sw.Armed || sw.Reason != "rehearsal" {
		t.Errorf("the next reign knows %+v (%v)", sw, err)
	}
	if next.epoch != r.epoch {
		t.Errorf("epoch %d after %d: the leadership had not changed", next.epoch, r.epoch)
	}
	if _, err := r.ask(t.Context(), engine.Asked{ID: "2", Verb: engine.Arm}); !errors.Is(err, errNotLeading) {
		t.Errorf("asking the old reign: %v", err)
	}
	if err := r.read(t.Context(), func(*engine.Engine) { t.Error("the old reign's engine was read") }); !errors.Is(err, errNotLeading) {
		t.Errorf("reading the old reign: %v", err)
	}
}

// Readings of 10,000 hosts every ten seconds must not touch the store.
func TestQuietStepsWriteNothing(t *testing.T) {
	t.Parallel()
	s := led(t, &quietCloud{}, Options{})
	r := s.reign.Load()
	seen := func() {
		for i := range 10_000 {
			r.in.put(engine.HostSeen{Host: engine.HostFacts{Name: fmt.Sprintf("compute-%05d", i), Zone: "az1"}})
		}
		if err := r.read(t.Context(), func(*engine.Engine) {}); err != nil {
			t.Fatal(err)
		}
	}
	seen()
	_, before, err := s.store.List(t.Context(), store.HostsPrefix)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	seen()
	took := time.Since(began)
	if _, after, _ := s.store.List(t.Context(), store.HostsPrefix); after != before {
		t.Errorf("the store went from revision %d to %d", before, after)
	}
	t.Logf("10,000 hosts seen again in %v", took)
	if took > 2*time.Second {
		t.Errorf("10,000 hosts took the leader's loop %v of every 10 s", took)
	}
}

// A look that was given up is never made: what it would write to is its caller's no more.
func TestALookThatWasGivenUp(t *testing.T) {
	l := &look{read: func(*engine.Engine) { t.Error("it was made all the same") }, done: make(chan struct{})}
	if err := l.giveUp(errNotLeading); !errors.Is(err, errNotLeading) {
		t.Error(err)
	}
	l.at(nil)
	made := &look{read: func(*engine.Engine) {}, done: make(chan struct{})}
	made.at(nil)
	if err := made.giveUp(errNotLeading); err != nil {
		t.Errorf("it had been made: %v", err)
	}
}

// Two servers on one data directory: the second one says so, and at once.
func TestTwoServersOnOneDirectory(t *testing.T) {
	t.Parallel()
	s := led(t, &quietCloud{}, Options{})
	cfg := s.cfg
	_, err := New(Options{Config: cfg, Cloud: &quietCloud{}})
	if err == nil || !strings.Contains(err.Error(), cfg.Data) {
		t.Errorf("a second server on %s: %v", cfg.Data, err)
	}
}
