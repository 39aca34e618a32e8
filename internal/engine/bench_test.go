package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/policy"
)

// busy makes an engine with 10,000 hosts, 20 open incidents of 100 VMs each, and closed ones besides.
func busy(b *testing.B, closed int) (*Engine, time.Time) {
	now := epochStart
	e := armed(New(Config{Epoch: 1, InAll: 16}, policy.Default()))
	for i := range 10000 {
		name := fmt.Sprintf("h%05d", i)
		e.Step(now, HostSeen{HostFacts{Name: name, Zone: "nova", Hypervisor: "QEMU", Levels: []string{"bmc"}, FreeMB: 64000, Service: Service{ID: name, Up: true, Fresh: true}}})
		e.Step(now, AgentReported{Host: name, Report: AgentReport{Boot: "b", Stores: []string{"nfs:shared"}}})
		e.Step(now, Assessed{Host: name, Verdict: Up, Boot: "b"})
	}
	clear(e.gated)
	for i := range 20 + closed {
		in := &Incident{ID: fmt.Sprintf("%06x", i), Host: fmt.Sprintf("h%05d", i), Zone: "nova", Verdict: Off, Phase: PhaseResurrecting, Opened: now, Planned: true,
			Proof: &Proof{Kind: "operator", Host: "h", Boot: "b", At: now}, Out: TakenOut{Begun: true, Done: true}}
		if i >= 20 {
			in.Phase, in.Stages.Closed = PhaseClosed, now
		} else {
			e.host(in.Host).now.Verdict = Off
		}
		e.keep(in)
		for j := range 100 {
			vm := VM{ID: fmt.Sprintf("vm-%d-%d", i, j), Host: in.Host, MemoryMB: 512, ImageBooted: true, Status: "ACTIVE"}
			e.add(&Recovery{Incident: in.ID, VM: vm, State: Queued, Order: j + 1})
		}
	}
	return e, now
}

// BenchmarkTick is what a tick costs in the middle of a disaster. Closed incidents must not show in it.
func BenchmarkTick(b *testing.B) {
	for _, closed := range []int{0, 2000} {
		b.Run(fmt.Sprintf("closed=%d", closed), func(b *testing.B) {
			e, now := busy(b, closed)
			b.ResetTimer()
			for range b.N {
				now = now.Add(200 * time.Millisecond)
				e.Step(now, Tick{})
			}
		})
	}
}

// BenchmarkManyDie is what 1,000 of 10,000 hosts cost that die at once, watched in shadow mode and fenced: until the last
// verdict has become an incident nobody else's does. Some exempt, most held by the storm. Run with -benchtime=1x.
func BenchmarkManyDie(b *testing.B) {
	for _, shadow := range []bool{true, false} {
		b.Run(fmt.Sprintf("shadow=%t", shadow), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				e, now := busy(b, 0)
				e.switches.Shadow = shadow
				now = now.Add(time.Minute)
				b.StartTimer()
				for _, ev := range []Assessed{{Suspect: true, Verdict: Up}, {Suspect: true, Verdict: Off}} {
					for i := range 1000 {
						ev.Host, ev.Boot, ev.Since, ev.Via = fmt.Sprintf("h%05d", 5000+i), "b", now, fmt.Sprint(i)
						e.Step(now, ev)
						now = now.Add(time.Millisecond)
					}
				}
				e.Step(now, Tick{})
			}
		})
	}
}

// BenchmarkReport is the everyday event: 10,000 agents report every few seconds.
func BenchmarkReport(b *testing.B) {
	e, now := busy(b, 0)
	ev := AgentReported{Host: "h09000", Report: AgentReport{Boot: "b", Stores: []string{"nfs:shared"}}}
	b.ResetTimer()
	for range b.N {
		e.Step(now, ev)
	}
}

// TestSweep: closed incidents older than the history are dropped from memory and from the store; others stay.
func TestSweep(t *testing.T) {
	now := epochStart
	e := New(Config{Epoch: 1}, policy.Default())
	for i, age := range []time.Duration{history - time.Hour, history + time.Hour} {
		in := &Incident{ID: fmt.Sprintf("%06x", i), Host: "h1", Phase: PhaseClosed, Stages: Stages{Closed: now.Add(-age)}}
		e.keep(in)
		e.add(&Recovery{Incident: in.ID, VM: VM{ID: "vm"}})
	}
	var deleted []string
	for _, r := range e.Step(now, Tick{}).Records {
		if r.Value != nil {
			t.Errorf("%s is written, expected deletions only", r.Key)
		}
		deleted = append(deleted, r.Key)
	}
	if got, want := fmt.Sprint(deleted), "[incidents/000001/servers/vm incidents/000001]"; got != want {
		t.Errorf("deleted %s, expected %s", got, want)
	}
	if _, _, kept := e.Incident("000000"); !kept {
		t.Error("the younger incident was dropped too")
	}
}

// TestStoryIsBounded: a story that goes on for weeks keeps its beginning and its end, and says that it was cut.
func TestStoryIsBounded(t *testing.T) {
	e := New(Config{Epoch: 1}, policy.Default())
	var log []Entry
	for i := range 2000 {
		log = e.grow(log, keptLines, fmt.Sprint(i))
	}
	if len(log) != keptLines || log[0].Text != "0" || log[keptLines-1].Text != "1999" || log[keptLines/2].Text != "(the story was cut here)" {
		t.Errorf("%d lines, from %q to %q, %q in the middle", len(log), log[0].Text, log[len(log)-1].Text, log[keptLines/2].Text)
	}
}
