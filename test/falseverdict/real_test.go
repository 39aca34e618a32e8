//go:build bench

package falseverdict

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/sim/wire"
	"github.com/ninelives-ha/ninelives/test/rig"
)

const (
	hostCount = 20
	loss      = "0.02"
	perRack   = 5
)

func number(name string, byDefault int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return byDefault
}

// TestNoFalseVerdictOnRealNetworks troubles living hosts and the server for some minutes: none of the hosts may be called
// dead, off or rebooted. Then one dies, and must be found.
func TestNoFalseVerdictOnRealNetworks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	cloud, err := wire.Start(t.Context(), wire.Options{Hosts: hostCount, VMs: 2 * hostCount, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cloud.Close() })
	hosts := make([]*host, hostCount)
	for i := range hosts {
		hosts[i] = &host{n: i + 1, name: fmt.Sprintf("host-%02d", i+1)}
	}
	layCables(t, hosts, loss)
	server := startServer(t, cloud)
	startAgents(t, cloud, server, hosts)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log ends:\n%s\n%s's log ends:\n%s", server.Log(40), hosts[0].name, rig.Tail(hosts[0].log, 20))
		}
	})
	rig.Within(t, 2*time.Minute, "all hosts are up", func() string {
		st, err := server.Status()
		if err != nil {
			return err.Error()
		}
		if st.Hosts.Up < hostCount {
			return fmt.Sprintf("%d of %d; unprotected: %v", st.Hosts.Up, hostCount, st.Hosts.Reasons)
		}
		return ""
	})
	begun, before := time.Now(), suspicions(server)
	long := time.Duration(number("NINELIVES_FALSE_MINUTES", 5)) * time.Minute
	pauses := troubles(t, server, hosts, long)
	report(t, server, hosts, begun, before, pauses)
	oneDies(t, server, hosts[hostCount-1])
}

// report compares the server's verdicts with what had befallen the hosts.
func report(t *testing.T, server *rig.Product, hosts []*host, begun time.Time, before, pauses int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	incidents, err := server.API.Incidents(ctx, "all", "")
	if err != nil {
		t.Fatal(err)
	}
	names, befell, verdicts := map[string]*host{}, map[string]int{}, map[string]int{}
	for _, h := range hosts {
		names[h.name] = h
		for _, p := range h.past {
			befell[p.what]++
		}
	}
	for _, in := range incidents {
		why := names[in.Host].explains(in.Stages.Verdict)
		verdicts[fmt.Sprintf("%s while or after %q", in.Verdict, why)]++
		switch string(in.Verdict) {
		case "dead", "off", "rebooted":
			t.Errorf("living %s was called %s at %s: %s (%s)", in.Host, in.Verdict, in.Stages.Verdict.Format("15:04:05.0"), in.Reason, why)
		}
		if why == "" {
			t.Errorf("nothing explains that %s was called %s at %s: %s", in.Host, in.Verdict, in.Stages.Verdict.Format("15:04:05.0"), in.Reason)
		}
	}
	fmt.Printf("%d hosts for %.1f minutes, %s of packets lost each way; troubles %v; server stopped %d times\nsuspicions %d, verdicts %v\n",
		len(hosts), time.Since(begun).Minutes(), loss, befell, pauses, suspicions(server)-before, verdicts)
}

// suspicions counts those that the server has told of.
func suspicions(server *rig.Product) int {
	log := server.Log(1 << 20)
	return strings.Count(log, "suspect: ") - strings.Count(log, "no longer suspect: ")
}

// oneDies: a server that calls nobody dead must not be a deaf one.
func oneDies(t *testing.T, server *rig.Product, h *host) {
	t.Helper()
	rig.Within(t, time.Minute, h.name+" is up again", func() string {
		d, err := server.Host(h.name)
		if err != nil {
			return err.Error()
		}
		if d.Verdict != "up" || d.Suspect {
			return fmt.Sprintf("%s, suspect: %t", d.Verdict, d.Suspect)
		}
		return ""
	})
	died := time.Now()
	if err := h.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for p := range planes {
		if err := h.cut(p, true); err != nil {
			t.Fatal(err)
		}
	}
	var in api.IncidentDetail
	rig.Within(t, time.Minute, h.name+" is found dead", func() string {
		found, ok, err := server.Incident(h.name, died)
		if err != nil || !ok || found.Verdict != "dead" {
			return fmt.Sprintf("%s %v", found.Verdict, err)
		}
		in = found
		return ""
	})
	fmt.Printf("%s died and was called dead %.1f s later\n", h.name, in.Stages.Verdict.Sub(died).Seconds())
}
