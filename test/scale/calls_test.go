//go:build scale

package scale

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
)

// spread is how a length of time is spread.
type spread struct{ p50, p99 time.Duration }

func (s spread) String() string { return ms(s.p50) + " / " + ms(s.p99) }

func spreadOf(all []time.Duration) spread {
	if len(all) == 0 {
		return spread{}
	}
	slices.Sort(all)
	return spread{all[len(all)/2], all[len(all)*99/100]}
}

// timed is one call, often.
type timed struct {
	what  string
	bytes int64
	spread
}

// ask makes each call many times, until its last byte.
func (b *bench) ask() []timed {
	const often = 120
	host, vm := hostName(b.hosts/2), fmt.Sprintf("vm-%06d", b.hosts*vmsPerHost/2)
	var out []timed
	for _, path := range []string{
		"/v1/status", "/v1/hosts", "/v1/hosts/" + host, "/v1/vms", "/v1/vms?host=" + host, "/v1/vms/" + vm, "/v1/incidents", "/v1/incidents?state=open", "/v1/fence", "/metrics",
	} {
		var took []time.Duration
		c := timed{what: strings.NewReplacer(host, "HOST", vm, "VM").Replace(path)}
		for range often {
			began := time.Now()
			c.bytes = b.get(path)
			took = append(took, time.Since(began))
			b.pass(60 * time.Millisecond)
		}
		c.spread = spreadOf(took)
		b.Logf("%s: %s, %d KiB", c.what, c.spread, c.bytes>>10)
		out = append(out, c)
	}
	return out
}

func (b *bench) get(path string) int64 {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, b.at.API+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+b.at.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("%s: %s %v", path, resp.Status, err)
	}
	return n
}

// deaths is what became of hosts that lost their power together.
type deaths struct {
	hosts     int
	p50, last time.Duration
	cores     float64
}

// die takes the power of one host, of a hundred and of a thousand, each while the others live.
func (b *bench) die() {
	var lags []time.Duration
	var mu sync.Mutex
	ctx, cancel := context.WithCancel(b.Context())
	var listening sync.WaitGroup
	listening.Go(func() {
		_ = b.api.Events(ctx, "", func(e api.Event) error { // ends with ctx
			mu.Lock()
			defer mu.Unlock()
			if !e.Reset {
				lags = append(lags, time.Since(e.At))
			}
			return nil
		})
	})
	known := map[string]bool{}
	for _, n := range []int{1, 100, 1000} {
		if n*10 > b.hosts {
			continue
		}
		b.deaths = append(b.deaths, b.dieTogether(n, known))
		b.pass(5 * time.Second)
	}
	b.storm = b.ask()
	cancel()
	listening.Wait()
	b.lag = spreadOf(lags)
}

func (b *bench) dieTogether(n int, known map[string]bool) deaths {
	from := int(b.cut.Load())
	cpu, began := b.server.cpu(b.T), time.Now()
	b.fleet.tell(b.T, command{Do: "kill", From: from, To: from + n})
	b.cut.Store(int64(from + n))
	var took []time.Duration
	b.until(fmt.Sprintf("verdicts on %d hosts", n), time.Minute, func() bool {
		list, err := b.api.Incidents(b.Context(), "open", "")
		if err != nil {
			b.Fatal(err)
		}
		for _, in := range list {
			if hostNumber(in.Host) >= from+n {
				b.Fatalf("a false verdict: %s is %s: %s", in.Host, in.Verdict, in.Reason)
			}
			if !known[in.ID] {
				known[in.ID] = true
				took = append(took, in.Stages.Verdict.Sub(began))
			}
		}
		return len(took) >= n
	})
	cores := (b.server.cpu(b.T) - cpu).Seconds() / time.Since(began).Seconds()
	s := spreadOf(took)
	d := deaths{hosts: n, p50: s.p50, last: took[len(took)-1], cores: cores}
	b.Logf("%d deaths: verdict after %s, the last after %s; %.2f cores", n, ms(d.p50), ms(d.last), cores)
	return d
}

// profile leaves the server's profiles in a directory, if one is named.
func (b *bench) profile(when string) {
	dir := os.Getenv("NINELIVES_SCALE_PROFILE")
	if dir == "" || b.spec.Pprof == "" {
		return
	}
	for _, what := range []string{"heap", "profile?seconds=10", "goroutine"} {
		resp, err := http.Get("http://" + b.spec.Pprof + "/debug/pprof/" + what)
		if err != nil {
			b.Log(err)
			return
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		name, _, _ := strings.Cut(what, "?")
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d-%s-%s", b.hosts, when, name)), text, 0o600); err != nil {
			b.Log(err)
		}
	}
}
