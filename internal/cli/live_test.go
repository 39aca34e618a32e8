package cli_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/cli"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

// output gathers what a command writes and calls seen with all of it after each write.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	seen func(string)
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.text.Write(b)
	if o.seen != nil {
		o.seen(o.text.String())
	}
	return n, err
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// call runs a command in this process, for at most 20 s.
func call(t *testing.T, ctx context.Context, url string, stdout, stderr *output, args ...string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	env := map[string]string{"NINELIVES_SERVER": url, "NINELIVES_TOKEN": token, "OS_AUTH_URL": "http://127.0.0.1:1/v3", "OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_PROJECT_NAME": "p"}
	code := cli.Run(ctx, cli.Env{
		Args: args, Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, Getenv: func(k string) string { return env[k] },
		Now: func() time.Time { return night },
	})
	if ctx.Err() == context.DeadlineExceeded {
		t.Errorf("%v doesn't end; it said:\n%s%s", args, stdout, stderr)
	}
	return code
}

// breaking ends each event stream after its messages.
type breaking struct{ nightly }

func (*breaking) Events(ctx context.Context, after string, send func(api.Event) error) error {
	e := api.Event{ID: "1.1", At: night, Severity: "info", Host: "compute-07", Text: "before the break"}
	if after == "1.1" {
		e = api.Event{ID: "1.2", At: night, Severity: "critical", Host: "compute-07", Text: "after the break"}
	}
	if after == "1.2" {
		<-ctx.Done()
		return ctx.Err()
	}
	return send(e)
}

// A broken event stream goes on where it was, and says that it broke.
func TestEventsGoOn(t *testing.T) {
	t.Parallel()
	ctx, enough := context.WithCancel(t.Context())
	stdout, stderr := &output{seen: func(s string) {
		if strings.Contains(s, "after the break") {
			enough()
		}
	}}, &output{}
	if code := call(t, ctx, serve(t, &breaking{}), stdout, stderr, "events", "--host", "compute-07"); code != 0 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	want := "02:14:45.0  compute-07            before the break\n02:14:45.0  compute-07            after the break\n"
	if stdout.String() != want {
		t.Errorf("got:\n%swant:\n%s", stdout, want)
	}
	if !strings.Contains(stderr.String(), "asking again every second") {
		t.Errorf("it doesn't say that the stream broke: %q", stderr)
	}
}

// ending closes its incident once its event was told.
type ending struct {
	nightly
	told atomic.Bool
}

func (b *ending) Incident(context.Context, string) (api.IncidentDetail, error) {
	i := incident()
	i.Counts = map[engine.State]int{engine.Recovered: 2}
	if !b.told.Load() {
		i.Phase = engine.PhaseResurrecting
	}
	return i, nil
}

func (b *ending) Events(ctx context.Context, _ string, send func(api.Event) error) error {
	for _, e := range []api.Event{{ID: "1", Incident: "other", Text: "of another incident"}, {ID: "2", At: night, Incident: "7f3a", Host: "compute-07", Text: "db-1: recovered"}} {
		if err := send(e); err != nil {
			return err
		}
	}
	b.told.Store(true)
	<-ctx.Done()
	return ctx.Err()
}

func TestIncidentWatchEndsWithTheIncident(t *testing.T) {
	t.Parallel()
	stdout, stderr := &output{}, &output{}
	if code := call(t, t.Context(), serve(t, &ending{}), stdout, stderr, "incident", "watch", "7f3a"); code != 0 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	want := "02:14:32.6  compute-07 7f3a       verdict off: BMC 10.9.0.17 read off twice\n" +
		"02:14:45.0  compute-07 7f3a       db-1: recovered\n" +
		"Incident 7f3a of compute-07 is closed: 2 of 2 back.\n"
	if stdout.String() != want {
		t.Errorf("got:\n%swant:\n%s", stdout, want)
	}
}

func TestStatusWatchGoesOnUntilInterrupted(t *testing.T) {
	t.Parallel()
	ctx, enough := context.WithCancel(t.Context())
	stdout, stderr := &output{seen: func(s string) {
		if strings.Count(s, "Waiting for you: nothing.") == 3 {
			enough()
		}
	}}, &output{}
	if code := call(t, ctx, serve(t, &nightly{}), stdout, stderr, "status", "--watch", "--every", "100ms"); code != 0 || stderr.String() != "" {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// A real server starts although its Keystone can't be reached, answers the CLI, and stops in order.
func TestServerWithoutCloud(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("OS_AUTH_URL", "http://127.0.0.1:1/v3")
	for k, v := range map[string]string{"OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_PROJECT_NAME": "p", "OS_CLOUD": ""} {
		t.Setenv(k, v)
	}
	config := filepath.Join(dir, "server.yaml")
	text := "name: server-1\ndata: " + dir + "/data\nlisten: {api: 127.0.0.1:0, agents: 127.0.0.1:0, cluster: 127.0.0.1:0}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	runs := make(chan string, 1)
	stderr := &output{seen: func(s string) {
		if m := regexp.MustCompile(`msg="the server runs".* api=(\S+)`).FindStringSubmatch(s); m != nil {
			select {
			case runs <- m[1]:
			default:
			}
		}
	}}
	ended := make(chan int, 1)
	go func() { ended <- call(t, ctx, "", &output{}, stderr, "server", "--config", config) }()
	var url string
	select {
	case addr := <-runs:
		url = "http://" + addr
	case code := <-ended:
		t.Fatalf("it ends with %d: %s", code, stderr)
	}
	stdout, complaint := &output{}, &output{}
	if code := call(t, ctx, url, stdout, complaint, "status", "--token-file", filepath.Join(dir, "data/admin.token")); code != 0 {
		t.Errorf("status: exit code %d: %s", code, complaint)
	}
	if !strings.Contains(stdout.String(), "1 of 1 server") {
		t.Errorf("status says:\n%s", stdout)
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("it ends with %d:\n%s", code, stderr)
	}
}
