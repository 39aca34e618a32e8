package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ninelives-ha/ninelives/internal/detect"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// metrics are this server's, on the registry handed in. What happens is counted here; how things stand is looked up
// when it is asked for.
type metrics struct {
	s *Server

	actions  *prometheus.HistogramVec
	outcomes *prometheus.CounterVec
	notes    *prometheus.CounterVec
	commits  prometheus.Histogram
	delay    prometheus.Histogram
	late     prometheus.Histogram
	gauges   map[string]*prometheus.Desc
}

// lookWithin is how long a scrape waits for the leader's loop.
const lookWithin = 2 * time.Second

func newMetrics(s *Server, reg prometheus.Registerer) *metrics {
	short := []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10}
	m := &metrics{
		s: s,
		actions: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ninelives_action_seconds", Help: "How long actions took, from the decision to the answer.",
			Buckets: []float64{.01, .05, .1, .5, 1, 2, 5, 10, 30, 60, 120},
		}, []string{"action"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ninelives_actions_total", Help: "Actions, by what became of them.",
		}, []string{"action", "outcome"}),
		notes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ninelives_notes_total", Help: "Sentences of the story told, by severity.",
		}, []string{"severity"}),
		commits: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ninelives_commit_seconds", Help: "How long it took to write down what was decided.", Buckets: short,
		}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ninelives_loop_delay_seconds", Help: "How long events waited for the leader's loop.", Buckets: short,
		}),
		late: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ninelives_detection_late_seconds", Help: "How much later than planned detection ran; all timeouts are stretched by it.", Buckets: short,
		}),
		gauges: map[string]*prometheus.Desc{},
	}
	for _, g := range []struct {
		name, help string
		labels     []string
	}{
		{"leader", "1 while this server leads.", nil},
		{"epoch", "The epoch of this server's leadership, 0 when it does not lead.", nil},
		{"hosts", "Hosts by verdict.", []string{"verdict"}},
		{"suspects", "Hosts that are silent without a verdict yet.", nil},
		{"hosts_seen", "Protected hosts that this server has heard itself.", []string{"zone"}},
		{"agents_connected", "Hosts whose agent has a stream to this server.", nil},
		{"fence_devices", "Fence devices, by whether they could be used now.", []string{"working"}},
		{"cloud_reachable", "1 if the last readings of the cloud succeeded.", nil},
		{"incidents_open", "Open incidents by phase; leader only.", []string{"phase"}},
		{"recoveries", "VMs of open incidents by state; leader only.", []string{"state"}},
		{"quorum", "1 if this server leads and a majority of the servers answered it, or knows who leads.", nil},
		{"servers", "Servers by state, as the leader last saw them; leader only. A learner has no vote yet.", []string{"state"}},
		{"armed", "1 if armed and not in shadow mode; leader only.", nil},
	} {
		m.gauges[g.name] = prometheus.NewDesc("ninelives_"+g.name, g.help, g.labels, nil)
	}
	reg.MustRegister(m.actions, m.outcomes, m.notes, m.commits, m.delay, m.late, m)
	return m
}

func (m *metrics) acted(k engine.Kind, ev engine.Event, took time.Duration) {
	m.actions.WithLabelValues(string(k)).Observe(took.Seconds())
	m.outcomes.WithLabelValues(string(k), outcomeOf(ev)).Inc()
}

// outcomeOf is what became of an action, in one word.
func outcomeOf(ev engine.Event) string {
	failed := false
	switch ev := ev.(type) {
	case nil:
		return "unanswered"
	case engine.Answered:
		return string(ev.Answer)
	case engine.FenceDone:
		if !ev.Proven {
			return "unproven"
		}
		return "proven"
	case engine.PowerRead:
		failed = ev.Err != ""
	case engine.Listed:
		failed = ev.Err != ""
	case engine.Tracked:
		failed = ev.Err != ""
	case engine.Inspected:
		failed = ev.Err != ""
	case engine.Looked:
		failed = ev.Err != ""
	case engine.ServiceRead:
		failed = ev.Err != ""
	}
	if failed {
		return "failed"
	}
	return "read"
}

func (m *metrics) noted(n engine.Note)           { m.notes.WithLabelValues(n.Severity.String()).Inc() }
func (m *metrics) committed(took time.Duration)  { m.commits.Observe(took.Seconds()) }
func (m *metrics) waited(d time.Duration)        { m.delay.Observe(d.Seconds()) }
func (m *metrics) detectedLate(by time.Duration) { m.late.Observe(by.Seconds()) }

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.gauges {
		ch <- d
	}
}

// Collect implements prometheus.Collector. A leader's loop that doesn't answer in time leaves its gauges out: they are
// unknown then, not zero.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(name string, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(m.gauges[name], prometheus.GaugeValue, value, labels...)
	}
	s := m.s
	r := s.reign.Load()
	gauge("leader", truth(r != nil))
	gauge("epoch", float64(s.leadership().Epoch))
	snap := s.ears.snapshot()
	for _, v := range verdicts() {
		gauge("hosts", float64(snap.Verdicts[v]), v.String())
	}
	gauge("suspects", float64(snap.Suspects))
	for zone, n := range snap.Seen {
		gauge("hosts_seen", float64(n), zone)
	}
	gauge("agents_connected", float64(s.agents.count()))
	working, broken := 0, 0
	s.fencing.each(s.fencing.hosts(), func(_ string, states []DeviceState) {
		for i := range states {
			if states[i].Working {
				working++
			} else {
				broken++
			}
		}
	})
	gauge("fence_devices", float64(working), "yes")
	gauge("fence_devices", float64(broken), "no")
	trouble, _ := s.inventory.troubled()
	gauge("cloud_reachable", truth(trouble == ""))
	m.collectServers(r, gauge)
	if r != nil {
		m.collectLeader(r, gauge)
	}
}

// collectServers asks nobody: a follower without a quorum knows no leader any more, a leader has just looked. Before it has,
// the servers are left out: they are unknown then, not lost.
func (m *metrics) collectServers(r *reign, gauge func(string, float64, ...string)) {
	var last *roster
	if r != nil {
		last = r.roster.Load()
	}
	gauge("quorum", truth(m.s.leadership().LeaderName != "" && (last == nil || last.quorum)))
	if last == nil {
		return
	}
	v := votersOf(last.members)
	gauge("servers", float64(v.healthy), "healthy")
	gauge("servers", float64(v.all-v.healthy), "lost")
	gauge("servers", float64(v.learners), "learner")
}

func (m *metrics) collectLeader(r *reign, gauge func(string, float64, ...string)) {
	ctx, cancel := context.WithTimeout(r.ctx, lookWithin)
	defer cancel()
	phases, states, armed := map[engine.Phase]int{}, map[engine.State]int{}, false
	err := r.read(ctx, func(e *engine.Engine) {
		sw, _ := e.Switches()
		armed = sw.Armed && !sw.Shadow
		for _, in := range e.Incidents() {
			if in.Phase == engine.PhaseClosed {
				continue
			}
			phases[in.Phase]++
			for st, n := range in.Counts {
				states[st] += n
			}
		}
	})
	if err != nil {
		return
	}
	gauge("armed", truth(armed))
	for _, p := range openPhases() {
		gauge("incidents_open", float64(phases[p]), string(p))
	}
	for _, st := range recoveryStates() {
		gauge("recoveries", float64(states[st]), string(st))
	}
}

// What gauges are labelled with. None is a number, too: a row that comes and goes is no good to an alert.
func verdicts() []detect.Verdict {
	return []detect.Verdict{
		detect.Unknown, detect.Contradiction, detect.Up, detect.Leaving, detect.Off, detect.Rebooted, detect.Dead, detect.Isolated,
		detect.Degraded, detect.Hung, detect.AgentDown,
	}
}

func openPhases() []engine.Phase {
	return []engine.Phase{
		engine.PhaseAlert, engine.PhaseOpen, engine.PhaseFencing, engine.PhaseTakingOut, engine.PhaseResurrecting, engine.PhaseInPlace,
		engine.PhaseRecovered, engine.PhaseRetrying,
	}
}

func recoveryStates() []engine.State {
	return []engine.State{
		engine.Queued, engine.Resurrecting, engine.Verifying, engine.Restarting, engine.Recovered, engine.Skipped, engine.Held, engine.Failed,
		engine.Unaccounted,
	}
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
