//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/test/rig"
)

// wrongThings: each mistake gets a clear error that says what to do, and doctor finds what it can beforehand. They need
// servers of their own, which never touch a host.
func wrongThings(r *row) {
	for name, run := range map[string]func(*testing.T, *row){
		"keystone unreachable": keystoneUnreachable,
		"wrong password":       wrongPassword,
		"unknown host":         unknownHost,
		"policy typo":          policyTypo,
		"disk full":            diskFull,
		"same data directory":  sameData,
		"same name":            sameName,
		"copied name":          copiedName,
	} {
		r.Run(name, func(t *testing.T) { run(t, r) })
	}
}

// says fails unless text holds all the words; they are what an operator needs to know.
func says(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, w := range lacking(text, words) {
		t.Errorf("%s says nothing of %q:\n%s", what, w, text)
	}
}

// lacking are the words that text doesn't hold.
func lacking(text string, words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(w)) })
}

// other is a server of its own in a directory of its own.
func (r *row) other(t *testing.T, name, clouds string) *rig.Product {
	t.Helper()
	dir := filepath.Join(r.Lab.Run, "e2e", strings.ReplaceAll(name, " ", "-"))
	p := rig.NewProduct(t, r.Main.Binary, rig.ServerSpec{Dir: dir, Agents: "127.0.0.1", Clouds: clouds})
	t.Cleanup(p.Stop)
	return p
}

// clouds writes a clouds.yaml that differs from the lab's in one word.
func (r *row) clouds(t *testing.T, name, old, new string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.Lab.Run, "clouds.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("clouds.yaml has no %q", old)
	}
	path := filepath.Join(r.Lab.Run, "e2e", name+".clouds.yaml")
	r.Put(t, path, strings.ReplaceAll(string(text), old, new))
	return path
}

// troubled starts a server whose cloud can't be read: it must serve all the same (hosts are watched), and its status and
// doctor must say why.
func (r *row) troubled(t *testing.T, p *rig.Product, words ...string) {
	t.Helper()
	p.Start(t)
	p.Ready(t, 30*time.Second)
	rig.Within(t, 30*time.Second, "status tells of the trouble", func() string {
		s, err := p.Status()
		if err != nil {
			return err.Error()
		}
		if s.Cloud.OK || len(lacking(s.Cloud.Trouble, words)) > 0 { // at first it hasn't been read yet
			return fmt.Sprintf("%+v", s.Cloud)
		}
		return ""
	})
	says(t, "the log", p.Log(100), words...)
	d := p.Run("doctor")
	if d.Code == 0 {
		t.Errorf("doctor exits 0 although it can't read the cloud:\n%s", d.Stdout)
	}
	says(t, "doctor", d.Stdout, words...)
	var diagnosis api.Diagnosis
	j := p.Run("doctor", "-o", "json")
	if err := json.Unmarshal([]byte(j.Stdout), &diagnosis); err != nil {
		t.Fatalf("doctor -o json: %v: %s%s", err, j.Stdout, j.Stderr)
	}
	for _, f := range diagnosis.Findings {
		if f.Severity == api.Refuse && f.Do != "" {
			return
		}
	}
	t.Errorf("no finding that says what to do: %+v", diagnosis.Findings)
}

func keystoneUnreachable(t *testing.T, r *row) {
	p := r.other(t, "keystone", r.clouds(t, "keystone", "http://10.77.0.1:5000/v3", "http://10.77.0.1:5999/v3"))
	r.troubled(t, p, "10.77.0.1:5999", "refused")
}

func wrongPassword(t *testing.T, r *row) {
	p := r.other(t, "password", r.clouds(t, "password", "password: "+r.Nova.Env["OS_PASSWORD"], "password: not-this-one"))
	r.troubled(t, p, "password")
	if strings.Contains(p.Log(1000), "not-this-one") {
		t.Error("the password is in the log")
	}
}

func unknownHost(t *testing.T, r *row) {
	path := filepath.Join(r.Lab.Run, "e2e", "unknown-host.yaml")
	r.Put(t, path, "hosts:\n  compute-99:\n    levels:\n      - - {driver: ipmi, address: \"127.0.0.1:6299\", username: admin, password_env: NOT_SET}\n")
	got := r.Main.Run("fence", "import", path)
	if got.Code == 0 {
		t.Errorf("devices of an unknown host were taken: %s", got.Stdout)
	}
	says(t, "fence import", got.Stderr+got.Stdout, path+":2:", "compute-99", "compute-01")
}

func policyTypo(t *testing.T, r *row) {
	path := filepath.Join(r.Lab.Run, "e2e", "typo.yaml")
	r.Put(t, path, "rules:\n  - name: pets\n    match: {tag: pet}\n    on_host_failur: resurrect\n")
	before := r.Main.Do(t, "policy", "show", "-o", "json")
	for _, verb := range []string{"check", "diff", "apply"} {
		got := r.Main.Run("policy", verb, path)
		if got.Code == 0 {
			t.Errorf("policy %s takes a typo: %s", verb, got.Stdout)
		}
		says(t, "policy "+verb, got.Stderr+got.Stdout, path+":4:5:", "on_host_failure", "^")
	}
	if after := r.Main.Do(t, "policy", "show", "-o", "json"); after != before {
		t.Errorf("a refused policy changed something:\n%s\n%s", before, after)
	}
}

// diskFull: the database's disk is full: nothing is decided that can't be written down, and everybody hears why.
func diskFull(t *testing.T, r *row) {
	dir := filepath.Join(r.Lab.Run, "e2e", "full-disk")
	disk := filepath.Join(dir, "disk")
	if err := os.MkdirAll(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", disk).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", disk).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	p := rig.NewProduct(t, r.Main.Binary, rig.ServerSpec{Dir: dir, Data: filepath.Join(disk, "data"), Agents: "127.0.0.1", Clouds: filepath.Join(r.Lab.Run, "clouds.yaml")})
	t.Cleanup(p.Stop)
	p.Start(t)
	p.Ready(t, 30*time.Second)
	rig.Within(t, 30*time.Second, "the server leads", func() string {
		if s, err := p.Status(); err != nil || !s.Leads {
			return fmt.Sprintf("leads %v (%v)", s.Leads, err)
		}
		return ""
	})
	fill(t, filepath.Join(disk, "filler"))
	// An operator's word needs the database: it must be refused with the reason, within a bounded time.
	var said string
	rig.Within(t, 90*time.Second, "a write is refused", func() string {
		for i := range 20 { // etcd has preallocated room for some
			got := p.Run("disarm", "--reason", strings.Repeat(fmt.Sprintf("word %d ", i), 120), "--timeout", "20s")
			if said = got.Stdout + got.Stderr; got.Code != 0 {
				return ""
			}
		}
		return "all were taken"
	})
	everything := said + p.Log(200)
	if s, err := p.Status(); err == nil {
		everything += strings.Join(s.Servers.Alarms, "\n") + s.Servers.Reason
	}
	says(t, "the server", everything, "no space left on device", "free some of it")
	says(t, "the server", everything, p.DataDir())
}

// fill writes until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for n := 1 << 20; n >= 1; n /= 16 {
		for {
			if _, err := f.Write(make([]byte, n)); err != nil {
				break // full, for pieces of this size
			}
		}
	}
}

// sameData: two servers on one data directory would be two minds in one head.
func sameData(t *testing.T, r *row) {
	dir := filepath.Join(r.Lab.Run, "e2e", "same-data")
	p := rig.NewProduct(t, r.Main.Binary, rig.ServerSpec{Dir: dir, Data: r.Main.DataDir(), Agents: "127.0.0.1", Clouds: filepath.Join(r.Lab.Run, "clouds.yaml")})
	t.Cleanup(p.Stop)
	p.Start(t)
	if code := p.Ends(30 * time.Second); code <= 0 {
		t.Errorf("the second server on one data directory ends with %d, expected an error", code)
	}
	says(t, "the second server", p.Log(20), r.Main.DataDir(), "another")
}

// sameName: one name for two of the servers.
func sameName(t *testing.T, r *row) {
	dir := filepath.Join(r.Lab.Run, "e2e", "same-name")
	p := rig.NewProduct(t, r.Main.Binary, rig.ServerSpec{Dir: dir, Agents: "127.0.0.1", Clouds: filepath.Join(r.Lab.Run, "clouds.yaml")})
	t.Cleanup(p.Stop)
	text := p.Text() + "cluster:\n  initial:\n    server-1: 127.0.0.1:17402\n    server-1: 127.0.0.1:17403\n    server-3: 127.0.0.1:17404\n"
	r.Put(t, p.Config, text)
	p.Start(t)
	if code := p.Ends(20 * time.Second); code <= 0 {
		t.Errorf("a cluster with one name twice ends with %d, expected an error", code)
	}
	says(t, "the server", p.Log(20), p.Config+":", "server-1")
}

// copiedName: the file of server-1 on the machine that is server-2: it would vote with server-1's voice.
func copiedName(t *testing.T, r *row) {
	p := r.other(t, "copied name", filepath.Join(r.Lab.Run, "clouds.yaml"))
	text := p.Text() + "cluster:\n  initial: {server-1: \"10.77.0.251:7402\", server-2: \"10.77.0.1:7402\", server-3: \"10.77.0.253:7402\"}\n"
	r.Put(t, p.Config, text)
	p.Start(t)
	if code := p.Ends(20 * time.Second); code <= 0 {
		t.Errorf("server-1's file on server-2's machine ends with %d, expected an error", code)
	}
	says(t, "the server", p.Log(20), p.Config+":1:", "10.77.0.1:7402", "name: server-2")
}
