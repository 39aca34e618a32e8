package transport

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// BenchmarkDecodePulse is what transport itself adds to gRPC for each pulse.
func BenchmarkDecodePulse(b *testing.B) {
	raw := pulseBytes(b, 1<<30, bootA[:])
	in := &inbound{}
	b.ReportAllocs()
	for b.Loop() {
		if err := in.decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// countingServer does what the hot path of a server must: nearly nothing.
type countingServer struct {
	*serverSide
	linked, pulses atomic.Int64
}

func (h *countingServer) Hello(*Link, *agentv1.Hello) (*agentv1.Welcome, error) {
	h.linked.Add(1)
	return &agentv1.Welcome{Epoch: 1, PulseMs: 1000}, nil
}
func (h *countingServer) Pulse(*Link, uint64)      { h.pulses.Add(1) }
func (h *countingServer) Closed(*Link, End, error) {}

// BenchmarkThousandLinks opens 1,000 mutual-TLS links over loopback, both ends in this process, and lets them pulse once
// a second. It reports the time to link all, and memory and CPU for one link with both of its ends (a server alone
// pays about half). Run with -benchtime=1x.
func BenchmarkThousandLinks(b *testing.B) {
	const n, watched = 1000, 10 * time.Second
	for b.Loop() {
		h := &countingServer{serverSide: newServerSide()}
		p := newPlace(b, func(o *ServerOptions) { o.Handler, o.AckEvery = h, time.Second })
		creds := make([]*pki.Credentials, n)
		for i := range creds {
			creds[i] = p.agentCreds(b, fmt.Sprintf("compute-%04d", i), time.Now())
		}
		before, _ := heap()
		began := time.Now()
		ups := make([]*Uplinks, n)
		for i := range ups {
			ups[i], _ = p.dial(b, func(o *AgentOptions) {
				o.Credentials, o.Hello, o.Handler = creds[i], helloOf(creds[i].Identity.Name, bootA), deafAgent{}
			})
		}
		for h.linked.Load() < n {
			runtime.Gosched()
			if time.Since(began) > time.Minute {
				b.Fatalf("only %d links after a minute", h.linked.Load())
			}
		}
		linking := time.Since(began)
		pulses, cpu, since := h.pulses.Load(), cpuTime(b), time.Now()
		<-time.After(watched)
		used, heard, took := cpuTime(b)-cpu, h.pulses.Load()-pulses, time.Since(since)
		b.ReportMetric(linking.Seconds(), "s/link-all")
		all, stacks := heap()
		b.ReportMetric(float64(all-before)/n/1024, "KiB/link")
		b.ReportMetric(float64(stacks)/n/1024, "KiB-stack/link")
		b.ReportMetric(float64(heard)/took.Seconds(), "pulses/s")
		b.ReportMetric(100*used.Seconds()/took.Seconds(), "%core")
		for _, u := range ups {
			u.cancel()
		}
		for _, u := range ups {
			u.Close()
		}
		if err := p.server.Stop(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// deafAgent keeps nothing.
type deafAgent struct{}

func (deafAgent) Connected(string, *agentv1.Welcome)           {}
func (deafAgent) Order(string, *agentv1.FromServer, time.Time) {}
func (deafAgent) Changed(ServerState)                          {}

// heap is what is in use now, with goroutines' stacks, and these alone.
func heap() (all, stacks uint64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse, m.StackInuse
}
