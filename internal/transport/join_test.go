package transport

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
)

func (p *place) token(t *testing.T, host string, life time.Duration, made time.Time) string {
	t.Helper()
	token, record, err := p.ca.NewToken(host, life, made)
	must(t, err)
	must(t, p.tokens.Create(context.Background(), record))
	return token.Text()
}

func (p *place) joining(t *testing.T, token string) JoinOptions {
	return JoinOptions{Servers: []string{p.addr}, Token: token, Host: "h1", Machine: m1, Dir: t.TempDir()}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestJoinThenLink(t *testing.T) {
	p := newPlace(t, nil)
	var asked Joining
	p.handler.join = func(j Joining) error { asked = j; return nil }
	o := p.joining(t, p.token(t, "h1", 0, time.Now()))
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, nobody.Close())
	o.Servers = []string{nobody.Addr().String(), p.addr} // the first one is down
	creds, err := Join(within(t), o)
	must(t, err)
	if asked.Host != "h1" || asked.Machine != m1 || asked.Serial != pki.Serial(creds.Leaf) || asked.Token == "" || asked.Remote == "" {
		t.Fatalf("the handler was asked %+v", asked)
	}
	stored, err := pki.LoadCredentials(o.Dir, AgentFiles)
	must(t, err)
	_, h := p.dial(t, func(o *AgentOptions) { o.Credentials = stored })
	next(t, h.connected, "Connected")

	_, err = Join(within(t), o)
	wantError(t, err, "was used at") // its key is gone: what comes now is somebody else
}

func TestJoinIsRefused(t *testing.T) {
	p, other := newPlace(t, nil), newPlace(t, nil)
	p.handler.join = func(j Joining) error {
		if j.Machine.UUID == "second" {
			return errors.New("host h1 is known as another machine: `ninelives host rejoin h1` lets it in")
		}
		return nil
	}
	good := func() string { return p.token(t, "h1", 0, time.Now()) }
	used := good()
	_, err := Join(within(t), p.joining(t, used))
	must(t, err)
	unknown, _, err := p.ca.NewToken("h1", 0, time.Now())
	must(t, err)
	for name, c := range map[string]struct {
		change func(o *JoinOptions)
		want   string
	}{
		"token used by another":  {func(o *JoinOptions) { o.Token = used }, "was used at"},
		"token for another host": {func(o *JoinOptions) { o.Token = good(); o.Host = "h2" }, "is for host h1, not for h2"},
		"token expired":          {func(o *JoinOptions) { o.Token = p.token(t, "h1", time.Hour, time.Now().Add(-2*time.Hour)) }, "expired"},
		"token unknown":          {func(o *JoinOptions) { o.Token = unknown.Text() }, "no such token"},
		"no token":               {func(o *JoinOptions) { o.Token = "hello" }, "this is no token"},
		"no servers":             {func(o *JoinOptions) { o.Token, o.Servers = good(), nil }, "no servers"},
		"no machine":             {func(o *JoinOptions) { o.Token, o.Machine = good(), pki.Machine{} }, "set `identity:` in agent.yaml"},
		"another cluster's server": {func(o *JoinOptions) { o.Token, o.Servers = good(), []string{other.addr} },
			"is not of the cluster that made this token"},
		"known as another machine": {func(o *JoinOptions) { o.Token, o.Machine.UUID = good(), "second" }, "host rejoin"},
	} {
		t.Run(name, func(t *testing.T) {
			o := p.joining(t, "")
			c.change(&o)
			_, err := Join(within(t), o)
			wantError(t, err, c.want)
			if _, err := pki.LoadCredentials(o.Dir, AgentFiles); err == nil {
				t.Error("credentials were stored")
			}
		})
	}
}

func TestJoinAgainAfterAnOperatorLetItIn(t *testing.T) {
	p := newPlace(t, nil)
	allowed := false
	p.handler.join = func(Joining) error {
		if !allowed {
			return errNo
		}
		return nil
	}
	o := p.joining(t, p.token(t, "h1", 0, time.Now()))
	_, err := Join(within(t), o)
	wantError(t, err, errNo.Error())
	if _, err := pki.LoadKey(filepath.Join(o.Dir, AgentFiles+".joining.key")); err != nil {
		t.Fatal(err)
	}
	allowed = true
	_, err = Join(within(t), o) // same token, same key
	must(t, err)
}

func TestExpiredCertificateMayOnlyRenew(t *testing.T) {
	p := newPlace(t, func(o *ServerOptions) {
		o.Revoked = func(host, _ string) (string, bool) { return "stolen", host == "h2" }
	})
	expired := p.agentCreds(t, "h1", time.Now().Add(-2*365*24*time.Hour))
	saved := make(chan *pki.Credentials, 1)
	_, h := p.dial(t, func(o *AgentOptions) {
		o.Credentials = expired
		o.SaveRenewed = func(c *pki.Credentials) error { saved <- c; return nil }
	})
	fresh := next(t, saved, "renewed credentials")
	if !fresh.Leaf.NotAfter.After(time.Now().Add(300 * 24 * time.Hour)) {
		t.Fatalf("renewed until %s", fresh.Leaf.NotAfter)
	}
	r := next(t, p.handler.renews, "Renew")
	if r.Host != "h1" || r.Machine != m1 || !r.Expired || r.OldSerial != pki.Serial(expired.Leaf) || r.Serial != pki.Serial(fresh.Leaf) {
		t.Fatalf("the handler was asked %+v", r)
	}
	next(t, h.connected, "Connected with the renewed certificate")

	revoked := p.agentCreds(t, "h2", time.Now().Add(-2*365*24*time.Hour))
	_, err := Renew(within(t), []string{p.addr}, revoked, nil)
	wantError(t, err, "was revoked: stolen")
	foreign := newPlace(t, nil).agentCreds(t, "h1", time.Now())
	_, err = Renew(within(t), []string{p.addr}, foreign, nil)
	wantError(t, err, "not to be trusted")
}
