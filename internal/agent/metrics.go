package agent

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the agent's few; a nil *metrics has none.
type metrics struct {
	registry prometheus.Registerer
	all      []prometheus.Collector

	servers, guests, gate prometheus.Gauge
	scan                  prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	if r == nil {
		return nil, nil //nolint:nilnil // a nil *metrics is complete
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "ninelives", Subsystem: "agent", Name: name, Help: help})
	}
	m := &metrics{
		registry: r,
		servers:  gauge("servers_connected", "Servers that have welcomed this agent and still hear it."),
		guests:   gauge("guests", "QEMU processes of VMs on this host."),
		gate:     gauge("gate_open", "1: nova-compute and guests may start on this host."),
		scan: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "ninelives", Subsystem: "agent", Name: "scan_seconds_total", Help: "Time spent reading the process table.",
		}),
	}
	m.all = []prometheus.Collector{m.servers, m.guests, m.gate, m.scan}
	for i, c := range m.all {
		if err := r.Register(c); err != nil {
			for _, c := range m.all[:i] {
				r.Unregister(c)
			}
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) scanned(took time.Duration, guests int) {
	if m != nil {
		m.scan.Add(took.Seconds())
		m.guests.Set(float64(guests))
	}
}

func (m *metrics) state(servers int, open bool) {
	if m == nil {
		return
	}
	m.servers.Set(float64(servers))
	m.gate.Set(0)
	if open {
		m.gate.Set(1)
	}
}

func (m *metrics) close() error {
	if m == nil {
		return nil
	}
	for _, c := range m.all {
		if !m.registry.Unregister(c) {
			return errors.New("a metric was not registered any more")
		}
	}
	return nil
}
