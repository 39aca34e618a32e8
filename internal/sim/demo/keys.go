package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
	"github.com/ninelives-ha/ninelives/internal/sim/world"
)

const keysHelp = `Keys (a letter, hosts if you like, Enter; without a host the first healthy one is taken):
  p [HOST…]  pull a plug             f [HOST…]  freeze a host (silent, its power stays on)
  c [HOST…]  cut management only     b [HOST…]  kill a BMC
  n          break Nova for 20 s     h          heal: networks, BMCs, frozen hosts
  s          how things stand        q          quit`

// Play brings the script's faults on, tells the story and obeys the keys that come from in, until q, the end of in, or the end of ctx. Reading from in
// may outlive it: a terminal can't be interrupted.
func (d *Demo) Play(ctx context.Context, s Script, in io.Reader) error {
	ctx, cancel := d.listening(ctx)
	defer cancel()
	d.running.Go(func() { d.listen(ctx) })
	d.tell("The command line works on it too. In another terminal:\n\n  export NINELIVES_SERVER=%s NINELIVES_TOKEN=%s\n  ninelives status\n\n%s\n", d.url, d.Token(), keysHelp)
	d.strike(s)
	lines := make(chan string)
	go func() {
		defer close(lines)
		text := bufio.NewScanner(in)
		for text.Scan() {
			select {
			case lines <- text.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-d.srv.Failed():
			return fmt.Errorf("the server's database has failed: %w", err)
		case line, more := <-lines:
			if !more || !d.obey(ctx, line) {
				return nil
			}
		}
	}
}

// obey carries out one line; false ends the demo.
func (d *Demo) obey(ctx context.Context, line string) bool {
	words := strings.Fields(line)
	if len(words) == 0 {
		return true
	}
	key, named := strings.ToLower(words[0]), words[1:]
	alone, known := map[string]func(){"s": func() { d.standing(ctx) }, "n": func() { d.breakNova(20 * time.Second) }, "h": d.heal}[key]
	switch {
	case key == "p" || key == "f" || key == "c" || key == "b":
		hosts, why := d.victims(named)
		if why != "" {
			d.tell("%s", why)
			return true
		}
		for _, h := range hosts {
			d.truth.forget(h)
		}
		d.strike(map[string]Script{"p": {Cut: hosts}, "f": {Freeze: hosts}, "c": {Isolate: hosts}, "b": {DeadBMC: hosts}}[key])
	case len(named) == 0 && (key == "q" || key == "quit" || key == "exit"):
		return false
	case len(named) == 0 && known:
		alone()
	case key == "help" || key == "?":
		d.tell("%s", keysHelp)
	default:
		d.tell("%q is not understood.\n%s", strings.TrimSpace(line), keysHelp)
	}
	return true
}

// victims are the hosts that were named, each once, none at all if one is unknown; if none was named, the first healthy one that runs VMs. Or why there are none.
func (d *Demo) victims(named []string) (hosts []string, why string) {
	names := d.o.names()
	for _, n := range named {
		if !slices.Contains(names, n) {
			return nil, fmt.Sprintf("There is no host %q; there are %s.", n, d.o.namesInWords())
		}
		if !slices.Contains(hosts, n) {
			hosts = append(hosts, n)
		}
	}
	if len(hosts) > 0 {
		return hosts, ""
	}
	d.cloud.World(func(w *world.World) {
		for _, n := range names {
			h := w.Host(n)
			if len(hosts) == 0 && h.On && h.Kernel && !h.Frozen && !h.IsCut(world.Management) && !h.BMC.Dead && len(w.Guests(n)) > 0 {
				hosts = []string{n}
			}
		}
	})
	if len(hosts) == 0 {
		why = "No healthy host that runs VMs is left; name one of " + d.o.namesInWords() + "."
	}
	return hosts, why
}

// heal takes away every fault but missing power, which is for Ninelives to give back.
func (d *Demo) heal() {
	d.cloud.World(func(w *world.World) {
		for _, n := range w.HostNames() {
			h := w.Host(n)
			if h.Frozen {
				w.Thaw(n)
			}
			if h.IsCut(world.Management) {
				w.HealPlane(n, world.Management)
			}
			if h.BMC.Dead {
				w.SetBMC(n, func(b *world.BMC) { b.Dead = false })
			}
		}
		w.NovaOutage(0)
	})
	d.tell("** Networks, BMCs, frozen hosts and Nova are healed.")
}

// standing tells how things stand: what the server believes, and what is true.
func (d *Demo) standing(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	st, err := d.api.Status(ctx)
	if err != nil {
		d.tell("The server does not say: %v", err)
		return
	}
	d.tell("%d hosts up of %d, %d suspect. %d open incidents.", st.Hosts.Up, st.Hosts.Total, st.Hosts.Suspect, len(st.Incidents))
	for _, in := range st.Incidents {
		d.tell("  %s %s, %s, %s: %s", in.ID, in.Host, in.Verdict, in.Phase, or(in.Now, vmsInWords(in)))
	}
	for _, l := range st.Interlocks {
		d.tell("  %s waits: %s", l.Host, l.Reason)
	}
	truth := d.truth.now()
	d.tell("In truth: %d VMs down, %d ever ran twice.", len(truth.down), len(truth.doubles))
}

func vmsInWords(in api.IncidentSummary) string {
	var words []string
	for _, s := range slices.Sorted(maps.Keys(in.Counts)) {
		words = append(words, fmt.Sprintf("%d %s", in.Counts[s], engine.State(s)))
	}
	return strings.Join(words, ", ")
}
