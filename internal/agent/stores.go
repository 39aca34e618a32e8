package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"
)

const (
	kindRBD = "rbd"
	// storeMark is the file by which two hosts find that they see the same directory. It holds a random UUID.
	storeMark = ".ninelives-store"
)

// sharable are file systems that several hosts may have mounted at once. On any other (ext4, xfs, overlay, …, and every
// one we don't know) a store is this machine's own: two hosts cloned from one image would carry the same mark.
func sharable(kind string) bool {
	return slices.Contains([]string{
		"nfs", "nfs4", "ceph", "fuse.ceph", "fuse.ceph-fuse", "glusterfs", "fuse.glusterfs", "gfs2", "ocfs2", "lustre", "gpfs", "cifs", "smb3", "beegfs",
		"fuse.moosefs", "fuse.lizardfs", "fuse.juicefs", "vxfs", "orangefs", "afs",
	}, kind)
}

// findStores tells where the disks of this host's instances lie. own is this machine's identity.
func findStores(cfg Config, conf novaConf, own string) ([]Store, error) {
	if len(cfg.Stores) > 0 {
		return namedStores(cfg, own)
	}
	switch kind := conf.get("libvirt", "images_type"); kind {
	case kindRBD:
		s, err := rbdStore(conf)
		return []Store{s}, err
	case "lvm":
		return []Store{{Kind: kind, Path: conf.get("libvirt", "images_volume_group")}}, nil // this host's own disks
	}
	path := conf.instancesPath()
	if path == "" {
		return nil, errors.New("cannot tell where instances' disks lie: instances_path in nova.conf refers to what isn't there; name it by stores: in agent.yaml")
	}
	s, err := directoryStore(cfg.Proc, path, own)
	return []Store{s}, err
}

// namedStores are those of agent.yaml. What the operator says is taken as it is.
func namedStores(cfg Config, own string) ([]Store, error) {
	var out []Store
	var errs []error
	for _, c := range cfg.Stores {
		s := Store{Kind: c.Kind, Identity: c.Identity, Path: c.Path}
		if s.Kind == "" || s.Identity == "" {
			found, err := directoryStore(cfg.Proc, c.Path, own)
			if err != nil {
				errs = append(errs, err)
			}
			if s.Kind == "" {
				s.Kind = found.Kind
			}
			if s.Identity == "" {
				s.Identity = found.Identity
			}
		}
		out = append(out, s)
	}
	return out, errors.Join(errs...)
}

// rbdStore: two hosts see the same images if they use the same pool of the same Ceph cluster.
func rbdStore(conf novaConf) (Store, error) {
	pool := conf.get("libvirt", "images_rbd_pool")
	if pool == "" {
		pool = "rbd" // Nova's default
	}
	s := Store{Kind: kindRBD, Path: pool}
	file := conf.get("libvirt", "images_rbd_ceph_conf")
	if file == "" {
		file = "/etc/ceph/ceph.conf"
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return s, fmt.Errorf("cannot tell which Ceph cluster holds instances' disks: %w", err)
	}
	ceph := novaConf{values: map[string]map[string]string{}}
	parseINI(text, ceph.values)
	fsid, ok := normalUUID(ceph.values["global"]["fsid"])
	if !ok {
		return s, fmt.Errorf("cannot tell which Ceph cluster holds instances' disks: %s has no fsid; name it by stores: in agent.yaml", file)
	}
	s.Identity = fsid + "/" + pool
	return s, nil
}

// directoryStore identifies a directory: file system, source and mark. Two hosts that mount one export under different
// names are taken for two stores; that only keeps a VM from moving, never the other way round.
func directoryStore(proc, path, own string) (Store, error) {
	s := Store{Path: path}
	table, err := os.ReadFile(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return s, fmt.Errorf("cannot tell on which file system %s lies: %w", path, err)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return s, fmt.Errorf("cannot look at the store %s: %w", path, err)
	}
	kind, source, err := mountOf(string(table), real)
	if err != nil {
		return s, err
	}
	s.Kind = kind
	mark, err := markOf(real)
	if err != nil {
		return s, err
	}
	if !sharable(kind) {
		source = own
	}
	if source == "" {
		return s, fmt.Errorf("cannot tell whose disks are in %s: this machine has no identity", path)
	}
	s.Identity = source + " " + mark
	return s, nil
}

// mountOf finds the file system that a path lies on (proc(5), /proc/pid/mountinfo): of the mounts above it the deepest,
// and of those on one place the last.
func mountOf(table, path string) (kind, source string, err error) {
	best := -1
	for line := range strings.Lines(table) {
		before, after, ok := strings.Cut(line, " - ")
		b, a := strings.Fields(before), strings.Fields(after)
		if !ok || len(b) < 5 || len(a) < 2 {
			continue
		}
		at := unescape(b[4])
		if under(path, at) && len(at) >= best {
			best, kind, source = len(at), a[0], unescape(a[1])
		}
	}
	if best < 0 {
		return "", "", fmt.Errorf("cannot tell on which file system %s lies: no mount above it", path)
	}
	return kind, source, nil
}

func under(path, root string) bool {
	return path == root || strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/")
}

// unescape turns \040 and its like back.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// markOf reads a directory's mark, or makes it. It appears whole or not at all, and the first of several hosts wins:
// link(2) is atomic and fails if the name is taken, on network file systems too.
func markOf(dir string) (string, error) {
	file := filepath.Join(dir, storeMark)
	mark, err := readMark(file)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return mark, err
	}
	tmp := file + "." + uuid.NewString()
	err = func() error {
		f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString(uuid.NewString() + "\n")
		err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()) // the umask would keep others from reading it
		if err == nil {
			if err = os.Link(tmp, file); errors.Is(err, fs.ErrExist) {
				err = nil
			}
		}
		return errors.Join(err, os.Remove(tmp))
	}()
	if err != nil {
		return "", fmt.Errorf("cannot mark the store %s, by which hosts that share it are known (once, on any of them: "+
			"sudo -u nova sh -c 'cat /proc/sys/kernel/random/uuid >%s'): %w", dir, file, err)
	}
	return readMark(file)
}

func readMark(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("cannot read the store's mark: %w", err)
	}
	mark, ok := normalUUID(strings.TrimSpace(string(text)))
	if !ok {
		return "", fmt.Errorf("cannot use the store's mark: %s should hold a UUID", file)
	}
	return mark, nil
}

// inTime runs what may hang for ever (a dead NFS server holds whoever looks) and gives up waiting with ctx. Only one
// such look is under way at a time: slot has room for one.
func inTime[T any](ctx context.Context, slot chan struct{}, what string, look func() (T, error)) (T, error) {
	type found struct {
		value T
		err   error
	}
	var none T
	select {
	case slot <- struct{}{}:
	default:
		return none, fmt.Errorf("cannot %s: the last attempt still hangs", what)
	}
	done := make(chan found, 1)
	go func() {
		defer func() { <-slot }()
		v, err := look()
		done <- found{v, err}
	}()
	select {
	case f := <-done:
		return f.value, f.err
	case <-ctx.Done():
		return none, fmt.Errorf("cannot %s: %w", what, ctx.Err())
	}
}
