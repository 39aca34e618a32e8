package server

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ninelives-ha/ninelives/internal/engine"
)

// metrics are this server's, on the registry handed in.
type metrics struct {
	actions *prometheus.HistogramVec
	notes   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		actions: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ninelives_action_seconds", Help: "How long actions took, from the decision to the answer.",
			Buckets: []float64{.01, .05, .1, .5, 1, 2, 5, 10, 30, 60, 120},
		}, []string{"action"}),
		notes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ninelives_notes_total", Help: "Sentences told, by severity.",
		}, []string{"severity"}),
	}
	reg.MustRegister(m.actions, m.notes)
	return m
}

func (m *metrics) acted(k engine.Kind, took time.Duration) {
	m.actions.WithLabelValues(string(k)).Observe(took.Seconds())
}
