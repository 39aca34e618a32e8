package store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// Embedded is a Store on an etcd member inside this process.
type Embedded struct {
	db    // its client is in-process and has no deadlines of its own
	o     Options
	dir   *dataDir
	etcd  *embed.Etcd
	srv   *etcdserver.EtcdServer
	probe *http.Client // asks the other servers whether they are there

	leads        announcer
	claimProblem string                   // the last one logged; used by followRaft alone
	reclaim      chan struct{}            // somebody else wrote the epoch although we lead
	newcomer     atomic.Pointer[newcomer] // the last that this server let in
	resigning    atomic.Bool
	closing      atomic.Bool
	failed       chan error // one error, when etcd can't go on
	failure      atomic.Pointer[error]

	end     context.CancelFunc
	tasksMu sync.Mutex // nothing is added to tasks once they are waited for
	tasks   sync.WaitGroup
	close   func() error
}

var _ Store = (*Embedded)(nil)

// OpenEmbedded starts this server's etcd member and takes part in elections. It
// doesn't wait for a quorum: until there is one, Lead and Status say so and calls
// end with ErrNoQuorum. It fails, in Options.StartTimeout at most, if the options
// make no sense, the data directory is another server's or in use, the address is
// taken, or the others know a living server of this name already.
func OpenEmbedded(o Options) (*Embedded, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("cannot open store: %w", err)
	}
	s := &Embedded{o: o, reclaim: make(chan struct{}, 1), failed: make(chan error, 1)}
	s.life, s.end = context.WithCancel(context.Background())
	s.name, s.alive, s.words, s.db.kick, s.task = o.Name, s.usable, s.inWords, s.kick, s.run
	s.guards = func(e Epoch) []clientv3.Cmp {
		return []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(root+epochKey), "=", int64(e))}
	}
	s.close = sync.OnceValue(s.shutdown)
	if s.dir, err = openDataDir(o); err != nil {
		return nil, fmt.Errorf("cannot open store: %w", err)
	}
	if err := checkDatabase(filepath.Join(s.dir.etcd(), "member", "snap", "db")); err != nil {
		s.dir.release()
		return nil, fmt.Errorf("cannot open store: %w", s.startProblem(err))
	}
	if s.probe, err = s.newProbe(probeTimeout); err != nil {
		s.dir.release()
		return nil, fmt.Errorf("cannot open store: %w", err)
	}
	if err := s.nobodyElse(); err != nil {
		s.dir.release()
		return nil, fmt.Errorf("cannot open store: %w", err)
	}
	if err := s.start(); err != nil {
		return nil, fmt.Errorf("cannot open store: %w", s.startProblem(err))
	}
	s.cli, s.callTimeout = v3client.New(s.srv), o.CallTimeout
	s.run(s.followRaft)
	s.run(s.followServers)
	if !o.lone {
		s.run(s.watchPort)
	}
	return s, nil
}

// newProbe is a client that connects anew each time: an old connection may still
// work when nobody can connect any more.
func (s *Embedded) newProbe(within time.Duration) (*http.Client, error) {
	rt := &http.Transport{}
	if tls := s.peerTLS(); !tls.Empty() {
		var err error
		if rt, err = transport.NewTransport(tls, within); err != nil {
			return nil, err
		}
	}
	rt.DisableKeepAlives = true
	return &http.Client{Timeout: within, Transport: rt}, nil
}

// run starts a task that ends with s.life; false: the store is closing.
func (s *Embedded) run(task func()) bool {
	s.tasksMu.Lock()
	defer s.tasksMu.Unlock()
	if s.closing.Load() {
		return false
	}
	s.tasks.Go(task)
	return true
}

// start starts etcd, in time or not at all. etcd opens files and waits for their
// locks without a deadline, so a start that is late is undone when it is through.
func (s *Embedded) start() error {
	cfg := s.config()
	type started struct {
		etcd *embed.Etcd
		err  error
	}
	done := make(chan started, 1)
	go func() {
		var r started
		defer func() {
			// Not a panic, mostly: the log's fatal hook has ended this goroutine.
			if p := recover(); p != nil {
				r.err = fmt.Errorf("etcd can't read its files: %v: %w", p, errDamaged)
			} else if err := s.failure.Load(); err != nil {
				r.err = *err
			}
			done <- r
		}()
		r.etcd, r.err = embed.StartEtcd(cfg)
	}()
	undo := func() {
		if r := <-done; r.err == nil {
			r.etcd.Close()
		}
		s.dir.release()
	}
	timeout := time.NewTimer(s.o.StartTimeout)
	defer timeout.Stop()
	select {
	case r := <-done:
		if r.err != nil {
			if bootstrapped(r.err) && !s.dir.id.Ran { // refused before it took part in anything: the way is clear to join
				r.err = errors.Join(r.err, os.RemoveAll(s.dir.etcd()))
			}
			s.dir.release()
			return r.err
		}
		s.etcd, s.srv = r.etcd, r.etcd.Server
		return nil
	case <-s.life.Done(): // one of etcd's own goroutines has given up; the start may hang for ever
		go undo()
		return *s.failure.Load()
	case <-timeout.C:
		go undo()
		return fmt.Errorf("etcd hasn't started within %v: is the disk of %s stuck?", s.o.StartTimeout, s.o.DataDir)
	}
}

// etcdFatal is called when etcd would end the process.
func (s *Embedded) etcdFatal(message string, fields map[string]any) {
	cause := fmt.Sprint(fields["error"])
	err := fmt.Errorf("etcd can't go on with %s: %s: %s", s.o.DataDir, message, cause)
	if strings.Contains(cause, syscall.ENOSPC.Error()) {
		err = fmt.Errorf("the disk of data directory %s is full; free some of it, then start the server again: %s: %w", s.o.DataDir, message, syscall.ENOSPC)
	}
	s.fail(err)
}

// fail ends this server's leadership, permits, calls and watches for good; the
// first error counts.
func (s *Embedded) fail(err error) {
	if s.closing.Load() || !s.failure.CompareAndSwap(nil, &err) {
		return
	}
	s.o.Logger.Error("store has failed", "error", err)
	s.leads.announce(Leadership{})
	s.end() // calls on the way wouldn't get an answer
	s.failed <- err
}

// Failed gives one error when this member can't go on (disk full or broken, removed
// from the cluster). The process should end: Close may not come back in time then.
func (s *Embedded) Failed() <-chan error { return s.failed }

// Name is this server's name.
func (s *Embedded) Name() string { return s.o.Name }

// failedCloseTimeout bounds Close after a failure: etcd holds locks then that
// nobody will release any more, so it mostly waits in vain.
const failedCloseTimeout = 2 * time.Second

// Close implements Store. If etcd hangs on a stuck disk it gives up after
// Options.CloseTimeout (2 s at most after a failure) with an error; the process
// should then exit at once, the data directory stays locked until it does.
func (s *Embedded) Close() error { return s.close() }

func (s *Embedded) shutdown() error {
	s.tasksMu.Lock()
	s.closing.Store(true)
	s.tasksMu.Unlock()
	s.leads.close()
	s.end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.tasks.Wait()
		if s.cli != nil {
			s.cli.Close() // always "context canceled"
		}
		s.etcd.Close()
		s.dir.release()
	}()
	within := s.o.CloseTimeout
	if s.failure.Load() != nil {
		within = min(within, failedCloseTimeout)
	}
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	select {
	case <-done:
		return nil
	case <-timeout.C:
		return fmt.Errorf("cannot close store: etcd hasn't stopped within %v; is the disk of %s stuck?", within, s.o.DataDir)
	}
}
