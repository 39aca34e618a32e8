package agent

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// FuzzGateOrder carries out two gate orders, whatever is in them: none of another boot or an older leader counts, what
// an operator opened stays open, and what is stored can be read again.
func FuzzGateOrder(f *testing.F) {
	order := func(o *agentv1.GateOrder) []byte {
		b, err := proto.Marshal(o)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	f.Add(order(gateOrder(f, bootOne, 3, 1, true, vmA)), order(gateOrder(f, bootOne, 2, 9, false)), true)
	f.Add(order(gateOrder(f, bootTwo, 3, 1, true)), order(gateOrder(f, bootOne, 4, 1, true, "x")), false)
	f.Add([]byte{}, []byte{0xff}, false)
	f.Fuzz(func(t *testing.T, first, second []byte, byHand bool) {
		up := time.Second
		g := gateRecord{}.forBoot(bootOne)
		if byHand {
			g = g.byHand("x", up)
		}
		for _, raw := range [][]byte{first, second} {
			o := &agentv1.GateOrder{}
			if proto.Unmarshal(raw, o) != nil {
				return
			}
			next, err := g.obey(o, up)
			if err != nil {
				if !equalGate(g, next) {
					t.Errorf("a refused order (%v) changed %+v to %+v", err, g, next)
				}
				continue
			}
			boot, err := transport.BootFromBytes(o.GetBoot())
			if err != nil || boot.String() != bootOne || o.GetEpoch() < g.Epoch || byHand && !next.Open {
				t.Errorf("order %v was obeyed by %+v: %+v", o, g, next)
			}
			text, err := json.Marshal(next)
			if err != nil {
				t.Fatal(err)
			}
			if back, err := parseGate(text); err != nil || !equalGate(next, back) {
				t.Errorf("%s can't be read again: %v", text, err)
			}
			for _, vm := range next.Forbidden {
				if next.refuses(bootOne, vm) == "" {
					t.Errorf("%s is forbidden and may start", vm)
				}
			}
			g = next
		}
	})
}

// FuzzOrder gives an agent an order, whatever is in it: a guest is killed only by its full name, in this boot, in time.
func FuzzOrder(f *testing.F) {
	boot := bootBytes(f, bootOne)
	for _, o := range []*agentv1.Order{
		{Kind: agentv1.OrderKind_ORDER_KIND_KILL_GUEST, Boot: boot, Uuid: vmA},
		{Kind: agentv1.OrderKind_ORDER_KIND_KILL_GUEST, Boot: boot, Uuid: "urn:uuid:" + vmA},
		{Kind: agentv1.OrderKind_ORDER_KIND_KILL_GUEST, Boot: boot[:3], Uuid: vmA},
		{Kind: 77, Boot: boot},
	} {
		b, err := proto.Marshal(o)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
		f.Add(b, false)
	}
	parsed, err := transport.BootFromBytes(boot)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte, young bool) {
		o := &agentv1.Order{}
		if proto.Unmarshal(raw, o) != nil || o.GetKind() == agentv1.OrderKind_ORDER_KIND_LIST_GUESTS || o.GetKind() == agentv1.OrderKind_ORDER_KIND_LIST_STORES {
			return // those only tell
		}
		m := &fakeMachine{boot: parsed}
		m.run(Guest{UUID: vmA})
		a := &Agent{machine: m, boot: parsed, log: discard(), ctx: t.Context(), kick: make(chan struct{}, 1)}
		until := time.Now().Add(-time.Minute)
		if young {
			until = until.Add(time.Hour)
		}
		_, err := a.perform("server", o, until)
		if len(m.killed) == 0 {
			return
		}
		vm, whole := normalUUID(o.GetUuid())
		if err != nil || !young || !whole || !slices.Equal(m.killed, []string{vm}) || !slices.Equal(o.GetBoot(), boot) {
			t.Errorf("%v killed %v: %v", o, m.killed, err)
		}
	})
}
