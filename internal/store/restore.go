package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
)

// revisionBump is how far a restored cluster's revisions begin beyond those of its
// backup: more writes than any cluster sees between two backups (a few a minute;
// this is a thousand a second for twelve days). Epochs are revisions, and agents
// obey none below the highest they have seen.
const revisionBump = 1 << 30

// Restore makes a new cluster of this server alone from a backup (Backup), into a
// data directory that has none yet. The configuration's other servers join again.
// Nothing may run on the old cluster any more: it would be a second one.
func Restore(ctx context.Context, backup string, o Options) error {
	if err := restore(ctx, backup, o); err != nil {
		return fmt.Errorf("cannot restore %s: %w", backup, err)
	}
	return nil
}

// Alive are the other servers that these options name and that answer now, at their cluster addresses.
func Alive(ctx context.Context, o Options) ([]string, error) {
	o, err := o.withDefaults()
	if err != nil || o.lone {
		return nil, err
	}
	probe, err := (&Embedded{o: o}).newProbe(probeTimeout)
	if err != nil {
		return nil, err
	}
	defer probe.CloseIdleConnections()
	var mu sync.Mutex
	var out []string
	var asked sync.WaitGroup
	for name, address := range o.Initial {
		if name == o.Name {
			continue
		}
		asked.Go(func() {
			if who, err := runsAt(ctx, probe, o.scheme()+"://"+address); err == nil && who != "" {
				mu.Lock()
				defer mu.Unlock()
				out = append(out, fmt.Sprintf("%s (%s)", name, address))
			}
		})
	}
	asked.Wait()
	slices.Sort(out)
	return out, nil
}

func restore(ctx context.Context, backup string, o Options) error {
	o, err := o.withDefaults()
	if err != nil {
		return err
	}
	if err := CheckBackup(ctx, backup); err != nil {
		return err
	}
	d, err := vacant(o)
	if err != nil {
		return err
	}
	defer d.release()
	url := o.scheme() + "://" + o.Initial[o.Name]
	if err := unpack(o.Logger, snapshot.RestoreConfig{
		SnapshotPath: backup, Name: o.Name, OutputDataDir: d.etcd(), PeerURLs: []string{url}, InitialCluster: o.Name + "=" + url,
		InitialClusterToken: o.ClusterToken, RevisionBump: revisionBump, MarkCompacted: true,
	}); err != nil {
		return err
	}
	d.id = identity{Name: o.Name, Token: o.ClusterToken, Servers: map[string]string{o.Name: o.Initial[o.Name]}, Restored: true, Ran: true}
	return d.write()
}

// unpack runs etcd's own restoring. Where etcd would end the process, only the
// goroutine ends.
func unpack(log *slog.Logger, c snapshot.RestoreConfig) error {
	done := make(chan error, 1)
	go func() {
		err := errors.New("etcd can't go on")
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("etcd can't read it: %v", p)
			}
			done <- err
		}()
		zap := newEtcdLog(log, &atomic.Bool{}, func(message string, fields map[string]any) {
			err = fmt.Errorf("%s: %v", message, fields["error"])
		})
		err = snapshot.NewV3(zap).Restore(c)
	}()
	return <-done
}

// CheckBackup reads a backup through and holds it against the checksum at its end.
func CheckBackup(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const block = 512 // the database's pages are a multiple of it, the checksum isn't
	size := info.Size() - sha256.Size
	if size <= 0 || size%block != 0 {
		return fmt.Errorf("%s is no backup, or was cut short: it has %d bytes, and no checksum at its end", path, info.Size())
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.LimitReader(reader{ctx, f}, size)); err != nil {
		return err
	}
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(f, want); err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return errors.New("the backup is damaged: its checksum doesn't match")
	}
	return nil
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

// Read reads, unless the context has ended.
func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
