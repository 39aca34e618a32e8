package store

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// eventually asks again, until it is so or 20 s have passed.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !is() {
		if ctx.Err() != nil {
			t.Fatalf("not within 20 s: %s", what)
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// join lets a server join through one that runs, starts it, and waits for its vote.
func join(t *testing.T, through *Embedded, o Options) *Embedded {
	t.Helper()
	var ticket Ticket
	eventually(t, o.Name+" may join", func() (ok bool) {
		var err error
		if ticket, err = through.AddServer(t.Context(), o.Name, o.Initial[o.Name]); err != nil {
			wantErr(t, err, ErrRefused) // etcd wants the others connected for 5 s first
		}
		return err == nil
	})
	again, err := through.AddServer(t.Context(), o.Name, o.Initial[o.Name])
	if err != nil || !maps.Equal(again.Servers, ticket.Servers) {
		t.Errorf("asked again for the same server: %v, %v", again, err)
	}
	if err := PrepareJoin(o, ticket); err != nil {
		t.Fatal(err)
	}
	s := open(t, o)
	eventually(t, o.Name+" has its vote", func() bool {
		name, err := through.Promote(t.Context())
		return err == nil && name == o.Name
	})
	return s
}

// TestReplaceServer: one of three is lost for good; another takes its place, and the
// cluster then survives the loss of a further one.
func TestReplaceServer(t *testing.T) {
	t.Parallel()
	options, ca := threeOptions(t)
	servers, c := openThree(t, options)
	leader, e := c.leader(t)
	commit(t, leader, e, Put("replace/x", val(t, "kept")))
	l := leader.(*Embedded)
	at := slices.IndexFunc(servers, func(s *Embedded) bool { return s != l })
	dead, deadName := servers[at], servers[at].Name()
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, deadName+" is missed", func() bool {
		return slices.ContainsFunc(l.Status(t.Context()).Members, func(m Member) bool { return m.Name == deadName && !m.Healthy })
	})
	third := servers[slices.IndexFunc(servers, func(s *Embedded) bool { return s != l && s != dead })]

	fresh := Options{
		Name: "server-4", DataDir: t.TempDir(), TLS: ca.issue(t, serverMark), Logger: quiet(t),
		Initial: map[string]string{"server-4": freePorts(t, 1)[0]},
	}
	_, err := l.AddServer(t.Context(), "server-4", fresh.Initial["server-4"])
	wantErr(t, err, ErrRefused, deadName)
	wantErr(t, l.RemoveServer(t.Context(), third.Name()), ErrRefused, "only 1 of the 2 servers that would be left", deadName)
	wantErr(t, l.RemoveServer(t.Context(), l.Name()), ErrRefused, "only 1 of the 2 servers that would be left") // "ask another one" would have lost the quorum
	wantErr(t, l.RemoveServer(t.Context(), "server-9"), ErrNotFound)
	eventually(t, deadName+" is removed", func() bool { return l.RemoveServer(t.Context(), deadName) == nil })
	wantErr(t, l.RemoveServer(t.Context(), l.Name()), ErrRefused, "itself", "ask another one")
	_, err = l.AddServer(t.Context(), third.Name(), "127.0.0.1:9")
	wantErr(t, err, ErrRefused, "member already")

	neverComes(t, l, fresh, freePorts(t, 1)[0])
	s4 := join(t, l, fresh)
	diff(t, "records on the new server", map[string]string{"replace/x": "kept"}, words(t, s4, "replace/"))
	eventually(t, "the new server is healthy", func() bool {
		st := s4.Status(t.Context())
		return len(st.Members) == 3 && !slices.ContainsFunc(st.Members, func(m Member) bool { return !m.Healthy || m.Learner })
	})
	if err := third.Close(); err != nil {
		t.Fatal(err)
	}
	left := embeddedCluster(l, s4)
	next, e2 := left.leader(t)
	commit(t, next, e2, Put("replace/y", val(t, "two of three")))

	// A restart: with the configuration the cluster began with, and with what it is now.
	eventually(t, "the new servers are noted", func() bool {
		id, err := l.dir.read()
		return err == nil && id.Now["server-4"] != "" && id.Now[deadName] == ""
	})
	if err := s4.Close(); err != nil {
		t.Fatal(err)
	}
	s4 = open(t, fresh)
	next, e3 := embeddedCluster(l, s4).leader(t)
	commit(t, next, e3, Delete("replace/y"))
}

// neverComes: a server was let in with a wrong address. It is found by its name, and told what to do.
func neverComes(t *testing.T, l *Embedded, o Options, wrong string) {
	t.Helper()
	var ticket Ticket
	eventually(t, o.Name+" is let in with a wrong address", func() (ok bool) {
		var err error
		ticket, err = l.AddServer(t.Context(), o.Name, wrong)
		return err == nil
	})
	bad := o
	bad.DataDir, bad.Initial = filepath.Join(t.TempDir(), "etcd"), map[string]string{o.Name: wrong}
	if err := PrepareJoin(bad, ticket); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(bad.DataDir, "etcd", "member", "wal"), 0o700); err != nil { // as its first start does
		t.Fatal(err)
	}
	bad.Initial = o.Initial
	_, err := OpenEmbedded(bad)
	wantWords(t, err, "can't be changed by editing it", "`ninelives cluster remove server-4 --reason WHY`",
		"`mv "+bad.DataDir+" "+bad.DataDir+".old`", "`ninelives server join --bundle FILE --through HOST:7401`")

	_, err = l.AddServer(t.Context(), o.Name, o.Initial[o.Name])
	wantErr(t, err, ErrRefused, wrong, "ninelives cluster remove server-4")
	if errors.Is(err, ErrNotYet) {
		t.Errorf("it won't pass by itself: %v", err)
	}
	_, err = l.AddServer(t.Context(), "server-5", o.Initial[o.Name])
	wantErr(t, err, ErrNotYet, "server-4 ("+wrong+") is joining", "ninelives cluster remove server-4")
	wantErr(t, l.RemoveServer(t.Context(), "server-9"), ErrNotFound, "there are server-", "server-4 (joining)")
	eventually(t, "it is removed by its name", func() bool { return l.RemoveServer(t.Context(), o.Name) == nil })
	eventually(t, "it is let in once more", func() bool { _, err := l.AddServer(t.Context(), o.Name, wrong); return err == nil })
	l.newcomer.Store(nil) // as on the next leader
	wantErr(t, l.RemoveServer(t.Context(), o.Name), ErrNotFound, wrong+" (joining)")
	eventually(t, "it is removed by its address", func() bool { return l.RemoveServer(t.Context(), wrong) == nil })
}

// TestGrow: a single server gets an address, then two others join.
func TestGrow(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ports := freePorts(t, 3)
	o := Options{Name: "server-1", DataDir: t.TempDir(), Logger: quiet(t)}
	s := open(t, o)
	_, e := embeddedCluster(s).leader(t)
	commit(t, s, e, Put("grow/x", val(t, "kept")))
	_, err := s.AddServer(t.Context(), "server-2", ports[1])
	wantErr(t, err, ErrRefused, "cluster.initial")
	eventually(t, "it has noted that it ran", func() bool { id, err := s.dir.read(); return err == nil && id.Ran })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.Initial, o.TLS = map[string]string{"server-1": ports[0]}, ca.issue(t, serverMark)
	s = open(t, o)
	eventually(t, "its address is known", func() bool { return s.Servers()["server-1"] == ports[0] })
	for i, name := range []string{"server-2", "server-3"} {
		join(t, s, Options{
			Name: name, DataDir: t.TempDir(), TLS: ca.issue(t, serverMark), Logger: quiet(t),
			Initial: map[string]string{"server-1": ports[0], "server-2": ports[1], "server-3": ports[2]},
		})
		if got := len(s.Servers()); got != i+2 {
			t.Errorf("there are %d servers", got)
		}
	}
	if st := s.Status(t.Context()); !st.Quorum || len(st.Members) != 3 {
		t.Errorf("status is %+v", st)
	}
}

// TestRestore: a backup of three servers becomes a cluster of one, whose epochs come
// after all that agents may have seen; a damaged one doesn't.
func TestRestore(t *testing.T) {
	t.Parallel()
	options, ca := threeOptions(t)
	_, c := openThree(t, options)
	leader, e := c.leader(t)
	commit(t, leader, e, Put("restore/x", val(t, "kept")), Put(AuditKey(time.Now(), 1), val(t, "done")))
	file := filepath.Join(t.TempDir(), "backup")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leader.(*Embedded).Backup(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	commit(t, leader, e, Put("restore/x", val(t, "later")))

	o := Options{
		Name: "server-1", DataDir: t.TempDir(), TLS: ca.issue(t, serverMark), Logger: quiet(t),
		Initial: map[string]string{"server-1": freePorts(t, 1)[0], "server-2": "127.0.0.1:2", "server-3": "127.0.0.1:3"},
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string][]byte{
		"damaged":     append([]byte("x"), whole[1:]...),
		"cut short":   whole[:len(whole)-1],
		"no backup":   []byte("hello"),
		"no checksum": whole[:len(whole)-32],
	} {
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.WriteFile(bad, text, 0o600); err != nil {
			t.Fatal(err)
		}
		wantWords(t, Restore(t.Context(), bad, o), "cannot restore "+bad, want)
	}
	if err := Restore(t.Context(), file, o); err != nil {
		t.Fatal(err)
	}
	wantWords(t, Restore(t.Context(), file, o), "has data already")
	s := open(t, o)
	_, e2 := embeddedCluster(s).leader(t)
	if e2 <= e+revisionBump/2 {
		t.Errorf("epoch %d follows %d: agents could have seen a later one", e2, e)
	}
	diff(t, "records", map[string]string{"restore/x": "kept"}, words(t, s, "restore/"))
	commit(t, s, e2, Put("restore/x", val(t, "goes on")))
	w := s.Watch(t.Context(), "restore/", 0)
	diff(t, "watch", []string{"reset", `written restore/x {"v":1,"word":"goes on"}`}, story(next(t, w)))
}

// TestLostLog: a server whose log is gone doesn't begin with nothing.
func TestLostLog(t *testing.T) {
	t.Parallel()
	o := Options{Name: "server-1", DataDir: t.TempDir(), Logger: quiet(t)}
	s := open(t, o)
	eventually(t, "it has noted that it ran", func() bool { id, err := s.dir.read(); return err == nil && id.Ran })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(s.dir.etcd(), "member", "wal")); err != nil {
		t.Fatal(err)
	}
	_, err := OpenEmbedded(o)
	wantWords(t, err, "has lost its log", "restore", "replace")
}
