package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const fsid = "f5f5f5f5-0000-4000-8000-00000000000f"

// mounts writes a mountinfo in which dir has the file system given.
func mounts(t *testing.T, proc, dir, kind, source string) {
	t.Helper()
	write(t, filepath.Join(proc, "self/mountinfo"), "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"+
		"2 1 0:5 / /proc rw shared:1 - proc proc rw\n"+
		"3 1 0:6 / "+strings.ReplaceAll(dir, " ", `\040`)+" rw,relatime shared:9 master:1 - "+kind+" "+source+" rw\n", 0o644)
}

func TestDirectoryStores(t *testing.T) {
	export := filepath.Join(t.TempDir(), "nova instances")
	if err := os.Mkdir(export, 0o755); err != nil {
		t.Fatal(err)
	}
	look := func(kind, source, own string) Store {
		t.Helper()
		proc := t.TempDir()
		mounts(t, proc, export, kind, source)
		s, err := directoryStore(proc, export, own)
		if err != nil || s.Kind != kind || s.Identity == "" {
			t.Fatalf("%+v, %v", s, err)
		}
		return s
	}
	if a, b := look("nfs4", "nas:/nova", "machine 1"), look("nfs4", "nas:/nova", "machine 2"); a != b {
		t.Errorf("two hosts with one export: %+v and %+v", a, b)
	}
	if a, b := look("nfs4", "nas:/nova", "machine 1"), look("nfs4", "nas:/other", "machine 2"); a.Identity == b.Identity {
		t.Errorf("two exports: %+v", a)
	}
	// The mark was cloned along with the disk; the machine tells them apart.
	if a, b := look("ext4", "/dev/sda1", "machine 1"), look("ext4", "/dev/sda1", "machine 2"); a.Identity == b.Identity {
		t.Errorf("two hosts' own disks: %+v", a)
	}
	if a, b := look("newfs", "x", "machine 1"), look("newfs", "x", "machine 2"); a.Identity == b.Identity {
		t.Errorf("an unknown file system was taken for a shared one: %+v", a)
	}
	proc := t.TempDir()
	mounts(t, proc, export, "ext4", "/dev/sda1")
	if s, err := directoryStore(proc, export, ""); err == nil || s.Identity != "" {
		t.Errorf("an unknown machine's own disks: %+v, %v", s, err)
	}
	other := t.TempDir()
	mounts(t, proc, other, "nfs4", "nas:/nova")
	if s, err := directoryStore(proc, other, ""); err != nil || strings.HasSuffix(s.Identity, look("nfs4", "nas:/nova", "").Identity) {
		t.Errorf("another directory with another mark: %+v, %v", s, err)
	}
}

func TestTheDeepestMountCounts(t *testing.T) {
	table := "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n" +
		"2 1 0:5 / /var/lib rw - xfs /dev/sdb rw\n" +
		"4 2 0:7 / /var/lib/nova rw - nfs4 nas:/nova rw\n" +
		"3 1 0:6 / /var/lib/nova2 rw - btrfs /dev/sdc rw\n" +
		"5 2 0:8 / /var/lib/nova rw - ceph mon:/nova rw\n" // mounted over it
	for path, want := range map[string]string{
		"/var/lib/nova/instances": "ceph mon:/nova", "/var/lib/nova2": "btrfs /dev/sdc", "/var/lib/novax": "xfs /dev/sdb", "/srv": "ext4 /dev/sda1",
	} {
		kind, source, err := mountOf(table, path)
		if got := kind + " " + source; got != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", path, got, err, want)
		}
	}
	if _, _, err := mountOf("", "/srv"); err == nil {
		t.Error("no mounts at all")
	}
}

// Of many hosts that mark a store at once all find the same mark, and nothing else is left there.
func TestMarksAreMadeOnce(t *testing.T) {
	dir := t.TempDir()
	marks := make([]string, 20)
	var wg sync.WaitGroup
	for i := range marks {
		wg.Go(func() {
			m, err := markOf(dir)
			if err != nil {
				t.Error(err)
			}
			marks[i] = m
		})
	}
	wg.Wait()
	for _, m := range marks {
		if m != marks[0] || m == "" {
			t.Fatalf("marks differ: %v", marks)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left in the store: %v, %v", left, err)
	}
	if info, err := os.Stat(filepath.Join(dir, storeMark)); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("other hosts' agents can't read it: %v, %v", info.Mode(), err)
	}
	write(t, filepath.Join(dir, storeMark), "x", 0o644)
	if m, err := markOf(dir); err == nil {
		t.Errorf("a damaged mark: %q", m)
	}
}

func TestFindStores(t *testing.T) {
	cfg := testConfig(t, bootOne)
	conf := func(text string) novaConf {
		c := novaConf{values: map[string]map[string]string{}}
		parseINI([]byte(text), c.values)
		return c
	}
	ceph := filepath.Join(t.TempDir(), "ceph.conf")
	write(t, ceph, "[global]\nfsid = "+strings.ToUpper(fsid)+"\n", 0o644)
	rbd := "[libvirt]\nimages_type = rbd\nimages_rbd_pool = vms\nimages_rbd_ceph_conf = " + ceph + "\n"
	got, err := findStores(cfg, conf(rbd), "m")
	if err != nil || len(got) != 1 || got[0].Kind != "rbd" || got[0].Identity != fsid+"/vms" {
		t.Errorf("rbd: %+v, %v", got, err)
	}
	if got, err := findStores(cfg, conf(rbd+"images_rbd_ceph_conf = /nonexistent\n"), "m"); err == nil || got[0].Identity != "" {
		t.Errorf("rbd without ceph.conf: %+v, %v", got, err)
	}
	if got, err := findStores(cfg, conf("[libvirt]\nimages_type=lvm\n"), "m"); err != nil || got[0].Identity != "" {
		t.Errorf("lvm is nobody else's: %+v, %v", got, err)
	}
	if _, err := findStores(cfg, conf("[DEFAULT]\ninstances_path=$nowhere/x\n"), "m"); err == nil || !strings.Contains(err.Error(), "stores: in agent.yaml") {
		t.Errorf("a path that can't be told: %v", err)
	}
	cfg.Stores = []StoreConfig{{Path: "/srv/x", Kind: "san", Identity: "array 7"}}
	if got, err := findStores(cfg, conf(rbd), "m"); err != nil || len(got) != 1 || got[0] != (Store{"san", "array 7", "/srv/x"}) {
		t.Errorf("the operator's word: %+v, %v", got, err)
	}
}

// A dead NFS server holds whoever looks at its files: nobody waits for it, and one look hangs, not one every 20 s.
func TestAStoreThatHangs(t *testing.T) {
	slot, free := make(chan struct{}, 1), make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	hang := func() (int, error) { <-free; return 1, nil }
	if _, err := inTime(ctx, slot, "look", hang); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the first: %v", err)
	}
	if _, err := inTime(t.Context(), slot, "look", hang); err == nil || !strings.Contains(err.Error(), "still hangs") {
		t.Errorf("the second: %v", err)
	}
	close(free)
	slot <- struct{}{} // the hanging one has ended
	<-slot
	if v, err := inTime(t.Context(), slot, "look", hang); v != 1 || err != nil {
		t.Errorf("after it came back: %d, %v", v, err)
	}
}
