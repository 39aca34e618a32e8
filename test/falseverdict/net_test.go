//go:build bench

package falseverdict

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// planes and their bridges; host n has the address 10.79.PLANE.100+n, the server 10.79.PLANE.1.
var planes = []string{"management", "storage"}

func bridge(plane int) string { return fmt.Sprintf("nlf-br%d", plane) }

func address(plane, n int) string { return fmt.Sprintf("10.79.%d.%d", plane, 100+n) }

func (h *host) namespace() string      { return fmt.Sprintf("nlf-%02d", h.n) }
func (h *host) cable(plane int) string { return fmt.Sprintf("nlf%02dp%d", h.n, plane) } // the bridge's end

// try runs a command of the host's own machine and returns what it said against it.
func try(words ...string) error {
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func must(t testing.TB, words ...string) {
	t.Helper()
	if err := try(words...); err != nil {
		t.Fatal(err)
	}
}

// layCables makes the bridges, and each host's namespace with one interface a plane, which loses packets both ways.
func layCables(t testing.TB, hosts []*host, loss string) {
	t.Helper()
	must(t, "./clean") // a run that was killed leaves them behind
	t.Cleanup(func() {
		if err := try("./clean"); err != nil {
			t.Error(err)
		}
	})
	for p := range planes {
		must(t, "ip", "link", "add", bridge(p), "type", "bridge")
		must(t, "ip", "addr", "add", fmt.Sprintf("10.79.%d.1/24", p), "dev", bridge(p))
		must(t, "ip", "link", "set", bridge(p), "up")
	}
	for _, h := range hosts {
		ns := h.namespace()
		must(t, "ip", "netns", "add", ns)
		must(t, "ip", "-n", ns, "link", "set", "lo", "up")
		for p := range planes {
			inside := fmt.Sprintf("p%d", p)
			must(t, "ip", "link", "add", h.cable(p), "type", "veth", "peer", "name", inside, "netns", ns)
			must(t, "ip", "link", "set", h.cable(p), "master", bridge(p), "up")
			must(t, "ip", "-n", ns, "addr", "add", address(p, h.n)+"/24", "dev", inside)
			must(t, "ip", "-n", ns, "link", "set", inside, "up")
		}
		for _, chain := range []string{"INPUT", "OUTPUT"} {
			must(t, "ip", "netns", "exec", ns, "iptables", "-A", chain, "!", inOrOut(chain), "lo", "-m", "statistic", "--mode", "random", "--probability", loss, "-j", "DROP")
		}
	}
}

func inOrOut(chain string) string {
	if chain == "INPUT" {
		return "-i"
	}
	return "-o"
}

// cut lets a plane carry nothing to the host and from it.
func (h *host) cut(plane int, yes bool) error {
	state := "up"
	if yes {
		state = "down"
	}
	return try("ip", "link", "set", h.cable(plane), state)
}

// drop lets a plane carry nothing in one direction (chain INPUT or OUTPUT).
func (h *host) drop(plane int, chain string, yes bool) error {
	what := "-D"
	if yes {
		what = "-I"
	}
	return try("ip", "netns", "exec", h.namespace(), "iptables", what, chain, inOrOut(chain), fmt.Sprintf("p%d", plane), "-j", "DROP")
}
