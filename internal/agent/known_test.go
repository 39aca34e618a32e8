package agent

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// TestTheEpochOutlivesAgentAndBoot: an agent that has obeyed the leader of epoch 9 is started anew, then its host boots:
// neither time does it obey an order of epoch 8, be it for a guest or for the gate.
func TestTheEpochOutlivesAgentAndBoot(t *testing.T) {
	p := newPlace(t)
	order := func(id, epoch uint64, kind agentv1.OrderKind, boot string) *agentv1.Result {
		p.send(p.link, &agentv1.FromServer{Kind: &agentv1.FromServer_Order{Order: &agentv1.Order{
			Id: id, Epoch: epoch, DeadlineMs: 5000, Kind: kind, Uuid: vmA, Boot: bootBytes(t, boot),
		}}})
		return p.until("a result", func(m *agentv1.FromAgent) bool { return m.GetResult().GetOrderId() == id }).GetResult()
	}
	if r := order(1, 9, agentv1.OrderKind_ORDER_KIND_LIST_GUESTS, bootOne); !r.GetOk() {
		t.Fatalf("got %v", r)
	}
	for _, boot := range []string{bootOne, bootTwo} {
		p.end(p.agent)
		p.machine.boot, _ = transport.ParseBoot(boot)
		p.begin()
		p.machine.run(Guest{UUID: vmA, PID: 7})
		p.send(p.link, &agentv1.FromServer{Kind: &agentv1.FromServer_Gate{Gate: &agentv1.GateOrder{
			Generation: 1 << 62, Epoch: 8, Open: true, Reason: "of an old leader", Boot: bootBytes(t, boot),
		}}})
		if r := order(2, 8, agentv1.OrderKind_ORDER_KIND_KILL_GUEST, boot); r.GetOk() || !strings.Contains(r.GetError(), "epoch 9 has begun") {
			t.Errorf("boot %s: the older order: %v", boot, r)
		}
		if p.agent.gate.current().Open || len(p.machine.killed) > 0 {
			t.Errorf("boot %s: gate %+v, killed %v", boot, p.agent.gate.current(), p.machine.killed)
		}
		if r := order(3, 9, agentv1.OrderKind_ORDER_KIND_LIST_GUESTS, boot); !r.GetOk() {
			t.Errorf("boot %s: the leader's order: %v", boot, r)
		}
	}
}

func TestWhatIsKnownOnDisk(t *testing.T) {
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	if d := cmp.Diff(transport.Known{}, loadKnown(dir, log)); d != "" {
		t.Error("of nothing:", d)
	}
	want := transport.Known{Epoch: 9, Revision: 12, Servers: map[string][]string{"server-1": {"10.0.0.1:7401"}}}
	if err := saveKnown(dir, want); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, loadKnown(dir, log)); d != "" {
		t.Error(d)
	}
	for _, text := range []string{"", "{", `{"format": 2}`, `{"format": 1, "more": 1}`} {
		if err := os.WriteFile(dataFile(dir, knownFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(transport.Known{}, loadKnown(dir, log)); d != "" {
			t.Errorf("of %q: %s", text, d)
		}
		if kept, err := os.ReadFile(dataFile(dir, knownFile+".damaged")); err != nil || string(kept) != text {
			t.Errorf("%q was not put aside: %q %v", text, kept, err)
		}
	}
	if err := saveKnown(dir, want); err != nil {
		t.Error(err)
	}
}

// FuzzKnown reads what may lie in the file: it is taken whole or not at all, and what is saved of it is read again.
func FuzzKnown(f *testing.F) {
	for _, s := range []string{`{"format":1,"epoch":9,"revision":12,"servers":{"server-1":["10.0.0.1:7401"],"":[null]}}`, `{"format":1,"servers":null}`, `{"format":1,"epoch":-1}`, `null`, "{"} {
		f.Add([]byte(s))
	}
	dir, log := f.TempDir(), slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(dataFile(dir, knownFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		k := loadKnown(dir, log)
		if err := saveKnown(dir, k); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(k, loadKnown(dir, log)); d != "" {
			t.Errorf("of %q: %s", text, d)
		}
	})
}
