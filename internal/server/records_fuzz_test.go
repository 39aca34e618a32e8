package server

import (
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
	"github.com/ninelives-ha/ninelives/internal/policy"
	"github.com/ninelives-ha/ninelives/internal/store"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// FuzzRecords takes over from records of any age and in any state: each is taken in or refused, and none ends the process.
func FuzzRecords(f *testing.F) {
	keys := []string{
		"hosts/h1", "incidents/7f", "incidents/7f/servers/a", "switches/armed", "switches/maintenance", "devices/h1", "agents/h1", store.PolicyKey,
		"switches/storm", formatKey, store.ServerKey("server-2"), store.ServerKey("server-1"), tokensPrefix + "abcdefgh",
	}
	for i := range keys {
		for _, s := range []string{
			`{"v":1}`, `{"v":2}`, `{}`, `null`, `[`, `{"v":1,"host":"h1","boot":"b","joined":"2026-01-02T03:04:05Z","machine":null,"planes":{"storage":""}}`,
			`{"v":1,"id":"7f","host":"h1","phase":"fencing","proof":null,"fencing":{"level":-1}}`,
			`{"v":1,"incident":"7f","vm":{"id":"a"},"state":"resurrecting","attempts":[{"answer":"accepted"}]}`,
			`{"v":1,"machine":{"host":"h1","levels":[[{"driver":"ipmi","address":"a:1"}],[{"driver":"x"}],[]]},"bound":{"ipmi a:1":{}}}`,
			`{"v":1,"format":-1,"name":"server-2","token":"","agents":[""],"last":"2026-01-02T03:04:05Z","id":"abcdefgh","hash":"","host":"h1"}`,
			`{"v":1,"rules":[{"name":"a","match":{"name":"["},"on_host_failure":"leave"}],"hosts":{"settle":"-1s"}}`,
		} {
			f.Add(uint8(i), []byte(s))
		}
	}
	drivers := fence.Drivers{fence.DriverIPMI: func(fence.Spec, fence.Options) (fence.Device, error) { return nil, fence.ErrUnreachable }}
	f.Fuzz(func(t *testing.T, key uint8, value []byte) {
		s := bare(t, nil, Options{})
		rec := store.Record{Key: keys[int(key)%len(keys)], Value: value}
		p := policy.Default()
		e := engine.New(engine.Config{Epoch: 1}, p)
		if rec.Key == store.PolicyKey {
			if _, err := store.Decode(rec, format, p); err == nil && p.Decide(policy.VM{Name: "x"}).Action == "" {
				t.Error("a policy that decides nothing was taken")
			}
		}
		agents, fencing := newAgents(s), newFencing(s, drivers)
		s.cards.take(store.Change{Kind: store.Written, Record: rec})
		if s.checkFormat([]store.Record{rec}) == nil && s.written() > s.reads() {
			t.Errorf("records of format %d are read by a server that reads %d", s.written(), s.reads())
		}
		var token pki.TokenRecord
		if _, err := store.Decode(rec, format, &token); err == nil {
			if _, err := token.Use(pki.Redemption{Secret: strings.Repeat("a", 26), Host: "h1", Key: "k", Now: time.Unix(1, 0)}); err == nil && token.Hash == "" {
				t.Error("a token without a secret was redeemed")
			}
		}
		if loadInto(e, rec) != nil || agents.load([]store.Record{rec}) != nil || fencing.load([]store.Record{rec}) != nil {
			return
		}
		now := time.Unix(1_800_000_000, 0)
		for range 3 {
			now = now.Add(time.Second)
			e.Step(now, engine.Tick{})
		}
		fencing.levels("h1")
		agents.mismatch("h1", "h1")
	})
}
