package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) {
	if o := os.Getenv(childOptions); o != "" {
		child(o)
	}
	// etcd doesn't close the idle connections between members; both ends go away
	// by its read timeout, 5 s after Close. Our own probe keeps none.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*conn).serve"), goleak.IgnoreAnyFunction("net/http.(*connReader).backgroundRead"))
}

// open starts a server that is closed with the test.
func open(t *testing.T, o Options) *Embedded {
	t.Helper()
	s, err := OpenEmbedded(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func quiet(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// freePorts gives addresses that were free a moment ago.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out
}

// threeOptions are those of a cluster of three with mutual TLS, and its CA.
func threeOptions(t *testing.T) ([]Options, *authority) {
	t.Helper()
	ca := newAuthority(t)
	addrs := freePorts(t, 3)
	initial := map[string]string{}
	var out []Options
	for i, addr := range addrs {
		initial[fmt.Sprintf("server-%d", i+1)] = addr
	}
	for i := range addrs {
		out = append(out, Options{
			Name: fmt.Sprintf("server-%d", i+1), DataDir: t.TempDir(), Initial: initial,
			TLS: ca.issue(t, serverMark), Logger: quiet(t),
		})
	}
	return out, ca
}

func openThree(t *testing.T, options []Options) ([]*Embedded, *cluster) {
	t.Helper()
	var out []*Embedded
	for _, o := range options {
		out = append(out, open(t, o))
	}
	return out, embeddedCluster(out...)
}

func embeddedCluster(servers ...*Embedded) *cluster {
	c := &cluster{
		raw: func(t *testing.T, key, value string) {
			if _, err := servers[0].cli.Put(t.Context(), root+key, value); err != nil {
				t.Fatal(err)
			}
		},
		compact: func(t *testing.T) {
			_, rev, err := servers[0].List(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			// Physical: wait until it is done, here; the others follow by the log.
			if _, err := servers[0].cli.Compact(t.Context(), rev, clientv3.WithCompactPhysical()); err != nil {
				t.Fatal(err)
			}
			for _, s := range servers {
				if _, _, err := s.List(t.Context(), "nothing/"); err != nil { // linearizable: has applied it too
					t.Fatal(err)
				}
			}
		},
	}
	for _, s := range servers {
		c.stores = append(c.stores, s)
	}
	return c
}

func TestEmbeddedContractAlone(t *testing.T) {
	t.Parallel()
	s := open(t, Options{Name: "server-1", DataDir: t.TempDir(), Logger: quiet(t)})
	if n := len(s.etcd.Peers) + len(s.etcd.Clients); n != 0 {
		t.Errorf("a single server listens on %d ports, expected none", n)
	}
	contract(t, embeddedCluster(s))
	err := s.RemoveServer(t.Context(), "server-1")
	wantErr(t, err, ErrRefused, "the only server")
	if err != nil && strings.Contains(err.Error(), "ask another one") {
		t.Errorf("there is no other one: %v", err)
	}
}

func TestEmbeddedContractThree(t *testing.T) {
	t.Parallel()
	options, ca := threeOptions(t)
	servers, c := openThree(t, options)
	contract(t, c)
	t.Run("strangers", func(t *testing.T) { strangers(t, ca, options) })
	t.Run("clash", func(t *testing.T) { nameClash(t, options, servers) })
	t.Run("overwritten", func(t *testing.T) { overwrittenEpoch(t, c) })
	t.Run("guard", func(t *testing.T) { guard(t, c, servers) })
}

// strangers: nobody without a server's certificate gets an answer from the
// cluster's port; an agent's is of the same CA and doesn't count.
func strangers(t *testing.T, ca *authority, options []Options) {
	for name, tc := range map[string]struct {
		tls PeerTLS
		ok  bool
	}{
		"a server": {options[1].TLS, true},
		"an agent": {ca.issue(t, "compute-01"), false},
		"other CA": {newAuthority(t).issue(t, serverMark), false},
		"nothing":  {PeerTLS{CAFile: options[0].TLS.CAFile}, false},
	} {
		info := transport.TLSInfo{CertFile: tc.tls.CertFile, KeyFile: tc.tls.KeyFile, TrustedCAFile: options[0].TLS.CAFile}
		rt, err := transport.NewTransport(info, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		cli := &http.Client{Transport: rt, Timeout: 2 * time.Second}
		resp, err := cli.Get("https://" + options[0].Initial["server-1"] + "/members")
		if err == nil {
			resp.Body.Close()
		}
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v, expected an answer: %v", name, err, tc.ok)
		}
		cli.CloseIdleConnections()
	}
}

// nameClash: a second server-2, or one that lost its disk, must not get in under
// the identity of the first.
func nameClash(t *testing.T, options []Options, servers []*Embedded) {
	for _, s := range servers { // until it has told the others that it runs
		<-s.srv.ReadyNotify()
	}
	o := options[1]
	o.DataDir = t.TempDir()
	o.ListenCluster = freePorts(t, 1)[0]
	s, err := OpenEmbedded(o)
	if err == nil {
		s.Close()
		t.Fatal("a second server-2 was let in")
	}
	for _, w := range []string{`"server-2"`, o.DataDir, "two servers", "copied", options[0].Initial["server-2"]} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q doesn't say %q", err, w)
		}
	}
}

// overwrittenEpoch: a paused leader may still claim the epoch while another leads;
// the one that leads claims it again.
func overwrittenEpoch(t *testing.T, c *cluster) {
	s, e := c.leader(t)
	sub := s.Lead(t.Context())
	<-sub
	c.raw(t, epochKey, "claimed by a ghost")
	_, err := s.Commit(t.Context(), e, Put("overwritten/x", val(t, "x")))
	wantErr(t, err, ErrDeposed)
	for l := range sub {
		if l.Leader && l.Epoch > e {
			commit(t, s, l.Epoch, Put("overwritten/x", val(t, "y")))
			return
		}
	}
}

// guard: a leader that slept through its deposition believes in its epoch; the
// transaction itself must stop it, on whatever server it arrives.
func guard(t *testing.T, c *cluster, servers []*Embedded) {
	s, e := c.leader(t)
	if err := s.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	now, e2 := c.leader(t)
	commit(t, now, e2, Put("guard/x", val(t, "new")))
	for _, srv := range servers {
		wantErr(t, srv.guarded(t.Context(), e, []Op{Put("guard/x", val(t, "old"))}), ErrDeposed)
	}
	diff(t, "records", map[string]string{"guard/x": "new"}, words(t, s, "guard/"))
}

func TestRestart(t *testing.T) {
	t.Parallel()
	o := Options{Name: "server-1", DataDir: t.TempDir(), Logger: quiet(t)}
	s := open(t, o)
	_, e := embeddedCluster(s).leader(t)
	commit(t, s, e, Put("restart/x", val(t, "kept")))
	w := s.Watch(t.Context(), "", 0)

	_, err := OpenEmbedded(o)
	wantWords(t, err, "in use by another ninelives server", o.DataDir)
	var backup bytes.Buffer
	if n, err := s.Backup(t.Context(), &backup); err != nil || n != int64(backup.Len()) || n < 4096 {
		t.Errorf("backup has %d bytes, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range w { // ends
	}
	_, err = s.Commit(t.Context(), e, Put("restart/x", val(t, "lost")))
	wantErr(t, err, ErrClosed)
	_, err = s.Get(t.Context(), "restart/x")
	wantErr(t, err, ErrClosed)
	if st := s.Status(t.Context()); st.Quorum {
		t.Errorf("a closed store says %+v", st)
	}

	for want, change := range map[string]func(*Options){
		`belongs to server "server-1", this one is "server-9"`: func(o *Options) { o.Name = "server-9" },
		`belongs to cluster "ninelives"`:                       func(o *Options) { o.ClusterToken = "other" },
		"can't be changed by editing it": func(o *Options) {
			o.Initial = map[string]string{"server-1": "127.0.0.1:1", "b": "127.0.0.1:2", "c": "127.0.0.1:3"}
			o.InsecureLoopback = true
		},
	} {
		changed := o
		change(&changed)
		_, err := OpenEmbedded(changed)
		wantWords(t, err, want)
	}

	again := open(t, o)
	_, e2 := embeddedCluster(again).leader(t)
	if e2 <= e {
		t.Errorf("after a restart epoch %d follows %d", e2, e)
	}
	diff(t, "records", map[string]string{"restart/x": "kept"}, words(t, again, "restart/"))
}

func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v doesn't say %q", err, w)
		}
	}
}

func TestOptionsRefused(t *testing.T) {
	t.Parallel()
	three := map[string]string{"a": "127.0.0.1:1", "b": "127.0.0.1:2", "c": "127.0.0.1:3"}
	tls := PeerTLS{CertFile: "c", KeyFile: "k", CAFile: "ca", AllowedNames: []string{"n"}}
	for want, o := range map[string]Options{
		"name is missing":             {},
		"nor blanks":                  {Name: "a=b"},
		"data directory is missing":   {Name: "a", DataDir: "-"},
		"among the cluster's servers": {Name: "d", Initial: three, TLS: tls},
		"one, three or five":          {Name: "a", Initial: map[string]string{"a": "127.0.0.1:1", "b": "127.0.0.1:2"}, InsecureLoopback: true},
		"must be host:port":           {Name: "a", Initial: map[string]string{"a": "h"}},
		"same address":                {Name: "a", Initial: map[string]string{"a": "h:1", "b": "h:1", "c": "h:2"}},
		"mutual TLS only":             {Name: "a", Initial: three},
		"any agent's certificate":     {Name: "a", Initial: three, TLS: PeerTLS{CertFile: "c", KeyFile: "k", CAFile: "ca"}},
		"only loopback":               {Name: "a", Initial: map[string]string{"a": "127.0.0.1:1", "b": "10.0.0.1:2", "c": "127.0.0.1:3"}, InsecureLoopback: true},
		"not with a name":             {Name: "a", Initial: three, TLS: tls, ListenCluster: "localhost:1"},
		"5 heartbeats":                {Name: "a", Heartbeat: time.Second},
		"another leader could act":    {Name: "a", Initial: three, TLS: tls, Permit: 501 * time.Millisecond},
		"at most 2s":                  {Name: "a", Permit: 3 * time.Second},
		"no such file or directory":   {Name: "a", Initial: three, TLS: tls, ListenCluster: "127.0.0.1:0"},
		"isn't one of this machine":   {Name: "a", Initial: three, InsecureLoopback: true, ListenCluster: "192.0.2.1:7402"},
		"cannot make data directory":  {Name: "a", DataDir: "/dev/null/x"},
	} {
		switch o.DataDir {
		case "":
			o.DataDir = t.TempDir()
		case "-":
			o.DataDir = ""
		}
		s, err := OpenEmbedded(o)
		if err == nil {
			s.Close()
		}
		wantWords(t, err, "cannot open store: ", want)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	o := Options{
		Name: "a", DataDir: t.TempDir(), InsecureLoopback: true,
		Initial: map[string]string{"a": addr, "b": "127.0.0.1:2", "c": "127.0.0.1:3"},
	}
	_, err = OpenEmbedded(o)
	wantWords(t, err, "cluster address "+addr+" is taken by another program")
}

// TestQuota fills the database.
func TestQuota(t *testing.T) {
	t.Parallel()
	s := open(t, Options{Name: "server-1", DataDir: t.TempDir(), QuotaBytes: 4 << 20})
	_, e := embeddedCluster(s).leader(t)
	var err error
	for i := 0; i < 20 && err == nil; i++ {
		_, err = s.Commit(t.Context(), e, Put(fmt.Sprintf("quota/%d", i), val(t, strings.Repeat("x", 1<<20))))
	}
	wantErr(t, err, ErrNoSpace, "4194304 bytes")
	st := s.Status(t.Context())
	if len(st.Alarms) != 1 || !strings.HasPrefix(st.Alarms[0], "NOSPACE: the database of server-1") || !st.Quorum {
		t.Fatalf("status of a full database is %+v", st)
	}
	commit(t, s, e, DeletePrefix("quota/"))
	if err := s.Reclaim(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := s.Status(t.Context()); len(st.Alarms) > 0 || st.DBBytes > 1<<20 {
		t.Errorf("after space was reclaimed, status is %+v", st)
	}
	commit(t, s, e, Put("quota/again", val(t, "x")))
}

// TestEtcdGivesUp: what would end the process ends the leadership instead, and
// somebody is told.
func TestEtcdGivesUp(t *testing.T) {
	t.Parallel()
	s := open(t, Options{Name: "server-1", DataDir: t.TempDir()})
	_, e := embeddedCluster(s).leader(t)
	permit := commit(t, s, e)
	ended := make(chan bool, 1)
	go func() {
		back := false
		defer func() { ended <- back }()
		s.srv.Logger().Fatal("failed to save Raft hard state and entries", zap.Error(errors.New("write: no space left on device")))
		back = true
	}()
	if back := <-ended; back {
		t.Fatal("etcd went on after its last words")
	}
	wantWords(t, <-s.Failed(), "disk of data directory "+s.o.DataDir+" is full")
	wantErr(t, permit.Check(), ErrClosed)
	_, err := s.Commit(t.Context(), e)
	wantErr(t, err, ErrClosed, "is full")
	if l := <-s.Lead(t.Context()); l.Leader {
		t.Errorf("a server whose etcd gave up says %+v", l)
	}
}

func TestEtcdLogIsQuiet(t *testing.T) {
	var out bytes.Buffer
	var stop atomic.Bool
	log := newEtcdLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})), &stop, nil)
	log.Info("news")
	log.With(zap.String("peer", "b")).Warn("peer is away", zap.Int("tries", 3))
	log.Warn("peer is away", zap.Int("tries", 4))
	log.Error("real trouble")
	stop.Store(true)
	log.Error("listener closed")
	got := out.String()
	for _, w := range []string{"component=etcd", `level=WARN msg="peer is away"`, "peer=b", "tries=3", `level=ERROR msg="real trouble"`} {
		if !strings.Contains(got, w) {
			t.Errorf("the log doesn't say %q:\n%s", w, got)
		}
	}
	for _, w := range []string{"news", "tries=4", "listener closed"} {
		if strings.Contains(got, w) {
			t.Errorf("the log says %q:\n%s", w, got)
		}
	}
}
