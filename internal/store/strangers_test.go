package store

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestTwoClusters: one server is restored from a backup while the two others run on with their old database. Each side sees
// the other: the old one among its members, the restored one at the addresses of its configuration.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	options, _ := threeOptions(t)
	servers, _ := openThree(t, options)
	eventually(t, "they work", func() bool { return servers[0].Status(t.Context()).Quorum })
	if got := servers[0].Strangers(t.Context()); len(got) != 0 {
		t.Errorf("one cluster: strangers %+v", got)
	}
	file := filepath.Join(t.TempDir(), "backup")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := servers[0].Backup(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := servers[0].Close(); err != nil {
		t.Fatal(err)
	}
	o := options[0]
	o.DataDir = t.TempDir()
	if err := Restore(t.Context(), file, o); err != nil {
		t.Fatal(err)
	}
	s := open(t, o)
	got := s.Strangers(t.Context())
	if len(got) != 2 || got[0].Name != "server-2" || got[1].Address != o.Initial["server-3"] {
		t.Fatalf("strangers are %+v, expected server-2 and server-3", got)
	}
	for _, m := range got {
		if m.Healthy || !m.Foreign || !strings.Contains(m.Problem, "belongs to another cluster") {
			t.Errorf("a stranger is %+v", m)
		}
	}
	st := servers[1].Status(t.Context())
	if i := slices.IndexFunc(st.Members, func(m Member) bool { return m.Foreign }); i < 0 || st.Members[i].Name != "server-1" || st.Members[i].Healthy {
		t.Errorf("the old side's servers are %+v", st.Members)
	}
	if err := servers[2].Close(); err != nil {
		t.Fatal(err)
	}
	if got := s.Strangers(t.Context()); len(got) != 1 || got[0].Name != "server-2" {
		t.Errorf("after server-3 has ended: %+v", got)
	}
}

// TestBegunAnew: a server that the cluster doesn't know begins with nothing, by a configuration that names the cluster's. It has
// no quorum, and says that they are another cluster: to start them is no use.
func TestBegunAnew(t *testing.T) {
	t.Parallel()
	options, _ := threeOptions(t)
	alone := options[0]
	alone.Initial = map[string]string{"server-1": alone.Initial["server-1"]}
	open(t, alone)
	anew := open(t, options[2])
	st := anew.Status(t.Context())
	if st.Quorum || len(st.Members) != 3 || !st.Members[0].Foreign || st.Members[1].Foreign || !st.Members[2].Healthy {
		t.Errorf("the one that begins anew says %+v", st)
	}
}

// TestAnotherCA: of three servers one came with another bundle. Log and status of the others say so.
func TestAnotherCA(t *testing.T) {
	t.Parallel()
	options, _ := threeOptions(t)
	log := &written{}
	options[0].Logger = slog.New(slog.NewTextHandler(log, nil))
	options[1].TLS = newAuthority(t).issue(t, serverMark)
	s := open(t, options[0])
	open(t, options[1])
	const asked = "did it get the right bundle?"
	eventually(t, "the log says so", func() bool { return strings.Contains(log.String(), asked) })
	for _, m := range s.Status(t.Context()).Members {
		if got := strings.Contains(m.Problem, asked); got != (m.Name == "server-2") || m.Foreign {
			t.Errorf("%+v", m)
		}
	}
}

// written is a log that can be read while it grows.
type written struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *written) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}
