package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cloud"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/fence"
)

// BenchmarkLists is what an operator waits for with 10,000 hosts, 200,000 VMs and 1,000 open incidents: each call to its
// last byte over loopback, from a real server that has nothing else to do. Run with -benchtime=1x.
func BenchmarkLists(b *testing.B) {
	const often = 200
	s := led(b, &deafCloud{}, Options{})
	crowd(b, s, 10_000, 1000)
	for _, path := range []string{"status", "hosts", "hosts/compute-05000", "vms", "vms?host=compute-05000", "vms/vm-199999", "incidents", "fence"} {
		b.Run(strings.ReplaceAll(path, "/", ":"), func(b *testing.B) {
			for b.Loop() {
				var took []time.Duration
				for range often {
					began := time.Now()
					fetch(b, s, "/v1/"+path)
					took = append(took, time.Since(began))
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[often/2].Microseconds())/1000, "ms-p50")
				b.ReportMetric(float64(took[often*99/100].Microseconds())/1000, "ms-p99")
			}
		})
	}
}

// deafCloud doesn't answer what an incident asks: nothing follows from it.
type deafCloud struct{ quietCloud }

func (c *deafCloud) ServersOn(context.Context, string) (cloud.ServerList, error) {
	return cloud.ServerList{}, cloud.ErrUnavailable
}
func (c *deafCloud) Allocations(context.Context, string) ([]string, error) {
	return nil, cloud.ErrUnavailable
}

// crowd tells a leader of hosts with 20 VMs and a device each, of which some have died.
func crowd(b *testing.B, s *Server, hosts, dead int) {
	in := s.reign.Load().in
	for i, h := range many(hosts, 20).hosts {
		id := "ipmi " + h.Host
		in.put(engine.HostSeen{Host: engine.HostFacts{Name: h.Host, Zone: "az1", Hypervisor: "QEMU", FreeMB: 64000, Levels: []string{id}, Service: engine.Service{ID: id, Up: true, Fresh: true}}})
		in.put(engine.InventoryRead{Host: h.Host, VMs: h.VMs})
		in.put(engine.AgentReported{Host: h.Host, Report: engine.AgentReport{Boot: "b", Stores: []string{"nfs:shared"}}})
		in.put(engine.Assessed{Host: h.Host, Verdict: engine.Up, Boot: "b"})
		if i < dead {
			in.put(engine.Assessed{Host: h.Host, Verdict: engine.Off, Suspect: true, Boot: "b", Reason: "read off", Via: id})
		}
		s.fencing.mu.Lock()
		s.fencing.machines[h.Host] = &machine{
			levels: [][]fence.Device{{&plug{id: id}}}, health: map[string]DeviceState{id: {Host: h.Host, Device: id, Level: 1, Bound: true, Working: true}},
		}
		s.fencing.mu.Unlock()
	}
	waitFor(b, "all is known", func() bool { return strings.Count(fetch(b, s, "/v1/incidents"), `"phase"`) >= dead })
}

func fetch(b *testing.B, s *Server, path string) string {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+s.api.Addr().String()+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.AdminToken())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatal(fmt.Errorf("%s: %s %v", path, resp.Status, err))
	}
	return string(text)
}
