//go:build scale

package scale

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

// The bars for 10,000 hosts.
const (
	mostCores = 1.5
	mostRSS   = 1 << 30
	mostList  = 200 * time.Millisecond
)

// figures are those of one size.
type figures struct {
	hosts     int
	linking   time.Duration // until every agent was linked and its host up
	cores     float64
	rss, most int64
	calls     []timed
	storm     []timed // the same calls while incidents are open
	back      time.Duration
	deaths    []deaths
	lag       spread // of events
}

// bench is one size's run.
type bench struct {
	*testing.T
	hosts  int
	spec   serverSpec
	server *process
	fleet  *process
	api    *client.Client
	at     running
	cut    atomic.Int64 // hosts below this have no power
	figures
}

// TestScale grows from one size to the next and prints how the cost grows with it.
func TestScale(t *testing.T) {
	var all []figures
	for _, text := range strings.Split(env("NINELIVES_SCALE", "1000,3000,10000"), ",") {
		hosts, err := strconv.Atoi(text)
		if err != nil || hosts < 20 {
			t.Fatalf("NINELIVES_SCALE: %q is no number of hosts", text)
		}
		t.Run(text, func(t *testing.T) {
			b := &bench{T: t, hosts: hosts}
			b.figures.hosts = hosts
			b.run()
			all = append(all, b.figures)
		})
	}
	report(t, all)
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func (b *bench) run() {
	dir := b.TempDir()
	b.spec = serverSpec{Data: filepath.Join(dir, "data"), Agents: free(b.T), API: free(b.T), Pulse: env("NINELIVES_SCALE_PULSE", "1s"), Log: env("NINELIVES_SCALE_LOG", filepath.Join(dir, "log")), Pprof: os.Getenv("NINELIVES_SCALE_PPROF")}
	if _, err := pki.Init(filepath.Join(b.spec.Data, "pki"), "scale", time.Now()); err != nil {
		b.Fatal(err)
	}
	off := func(i int) bool { return int64(i) < b.cut.Load() }
	b.spec.Nova = startNova(b.T, b.hosts, off).base
	b.spec.BMCs = startBMCs(b.T, off)
	b.startServer()
	b.until("the server has seen all hosts", time.Minute, func() bool { return b.status().Hosts.Total == b.hosts })
	b.must(b.api.Arm(b.Context(), api.ArmRequest{Shadow: true, Force: true, Reason: "a bench"}))
	if _, err := b.api.ImportDevices(b.Context(), b.devices()); err != nil {
		b.Fatal(err)
	}
	b.fleet = spawn(b.T, "fleet", fleetSpec{Hosts: b.hosts, Server: b.at.Agent, CA: filepath.Join(b.spec.Data, "pki")})
	b.fleet.line(b.T)
	began := time.Now()
	b.until("all are up", 10*time.Minute, func() bool { return b.status().Hosts.Up == b.hosts })
	b.linking = time.Since(began)
	if os.Getenv("NINELIVES_SCALE_ONLY") != "deaths" {
		b.idle()
		b.calls = b.ask()
		b.restart()
	}
	b.die()
	b.profile("end")
}

// idle is what nothing going on costs, over more than one reading of all VMs.
func (b *bench) idle() {
	b.pass(10 * time.Second)
	cpu, began := b.server.cpu(b.T), time.Now()
	b.profile("idle")
	b.pass(time.Minute)
	b.cores = (b.server.cpu(b.T) - cpu).Seconds() / time.Since(began).Seconds()
	b.rss, b.most = b.server.memory(b.T)
	b.Logf("idle: %.2f cores, %d MiB now, %d MiB at most", b.cores, b.rss>>20, b.most>>20)
}

// restart ends the server and begins it anew: all agents come back at once, and nobody may be taken for dead.
func (b *bench) restart() {
	b.server.stop(b.T)
	began := time.Now()
	b.startServer()
	b.until("all are up again", 10*time.Minute, func() bool {
		st := b.status()
		b.nobodyDied(st)
		return st.Hosts.Up == b.hosts
	})
	b.back = time.Since(began)
	for range 20 {
		b.pass(time.Second)
		b.nobodyDied(b.status())
	}
}

func (b *bench) nobodyDied(st api.Status) {
	b.Helper()
	if len(st.Incidents) > 0 {
		b.Fatalf("a false verdict: %+v", st.Incidents[0])
	}
}

func (b *bench) startServer() {
	b.server = spawn(b.T, "server", b.spec)
	if err := json.Unmarshal([]byte(b.server.line(b.T)), &b.at); err != nil {
		b.Fatal(err)
	}
	var err error
	if b.api, err = client.New(b.at.API, b.at.Token, nil); err != nil {
		b.Fatal(err)
	}
	b.until("the server leads", time.Minute, func() bool { st := b.status(); return st.Leads && st.Partial == "" })
}

func (b *bench) status() api.Status {
	b.Helper()
	st, err := b.api.Status(b.Context())
	if err != nil {
		b.Logf("status: %v", err)
	}
	return st
}

func (b *bench) must(r api.Reply, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(r, err)
	}
}

// devices is a devices.yaml with one controller for each host.
func (b *bench) devices() api.File {
	var text strings.Builder
	text.WriteString("hosts:\n")
	for i := range b.hosts {
		fmt.Fprintf(&text, "  %[1]s:\n    levels:\n      - - {driver: ipmi, address: %[1]s, username: op, password_env: NONE}\n", hostName(i))
	}
	return api.File{Path: "devices.yaml", Source: text.String()}
}

func (b *bench) until(what string, within time.Duration, ok func() bool) {
	b.Helper()
	for end := time.Now().Add(within); !ok(); b.pass(250 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("not within %s: %s", within, what)
		}
	}
}

func (b *bench) pass(d time.Duration) { <-time.After(d) }

func free(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func report(t *testing.T, all []figures) {
	w := tabwriter.NewWriter(os.Stdout, 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, "\nhosts\tVMs\tcores\tRSS MiB\tmost MiB\tKiB a host\tall up\tback after a restart\tevents' lag p50/p99")
	for _, f := range all {
		fmt.Fprintf(w, "%d\t%d\t%.2f\t%d\t%d\t%d\t%.1f s\t%.1f s\t%s\n", f.hosts, f.hosts*vmsPerHost, f.cores, f.rss>>20, f.most>>20, f.rss>>10/int64(f.hosts),
			f.linking.Seconds(), f.back.Seconds(), f.lag)
		if f.hosts >= 10_000 && (f.cores > mostCores || f.most > mostRSS) {
			t.Errorf("%d agents cost %.2f cores and %d MiB; the bars are %.1f and %d", f.hosts, f.cores, f.most>>20, mostCores, mostRSS>>20)
		}
	}
	fmt.Fprintln(w, "\nhosts\tcall\tp50\tp99\tKiB\twith incidents p50\tp99")
	for _, f := range all {
		for i, c := range f.calls {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%s\t%s\n", f.hosts, c.what, ms(c.p50), ms(c.p99), c.bytes>>10, ms(f.storm[i].p50), ms(f.storm[i].p99))
			if c.p99 > mostList || f.storm[i].p99 > mostList {
				t.Errorf("%s with %d hosts: p99 %s and %s; the bar is %s", c.what, f.hosts, ms(c.p99), ms(f.storm[i].p99), mostList)
			}
		}
	}
	fmt.Fprintln(w, "\nhosts\tdie at once\tverdict p50\tlast\tcores meanwhile")
	for _, f := range all {
		for _, d := range f.deaths {
			fmt.Fprintf(w, "%d\t%d\t%.2f s\t%.2f s\t%.2f\n", f.hosts, d.hosts, d.p50.Seconds(), d.last.Seconds(), d.cores)
		}
	}
	_ = w.Flush()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000) }
