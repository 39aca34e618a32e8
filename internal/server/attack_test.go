package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport"
	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// listener is an agent that does nothing but say what it was told.
type listener struct {
	welcomed chan string
	refused  chan string
}

func (l *listener) Connected(string, *agentv1.Welcome)           { l.welcomed <- "" }
func (l *listener) Order(string, *agentv1.FromServer, time.Time) {}
func (l *listener) Changed(s transport.ServerState) {
	if s.Refused != "" {
		select {
		case l.refused <- s.Refused:
		default:
		}
	}
}

// dialAs connects an agent with these credentials; hello may say anything.
func dialAs(t *testing.T, s *Server, creds *pki.Credentials, hello *agentv1.Hello) (*transport.Uplinks, *listener) {
	t.Helper()
	l := &listener{welcomed: make(chan string, 10), refused: make(chan string, 1)}
	u, err := transport.Dial(transport.AgentOptions{
		Servers: []string{s.AgentsAddr().String()}, Credentials: creds, Hello: func() *agentv1.Hello { return hello }, Handler: l,
	})
	if err != nil {
		t.Fatal(err)
	}
	u.Start()
	t.Cleanup(u.Close)
	return u, l
}

func newBoot() []byte {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return b
}

func creds(t *testing.T, s *Server, host string, machine string) *pki.Credentials {
	t.Helper()
	c, err := s.ca.IssueAgent(host, pki.Machine{UUID: machine}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func helloFrom(host, machine string) *agentv1.Hello {
	return &agentv1.Hello{Host: host, Boot: newBoot(), Machine: &agentv1.Machine{Uuid: machine}, Planes: map[string]string{"management": "127.0.0.1"}}
}

// An agent that says far too much is heard all the same, what can't be a host's is left out, and nobody else's record
// waits for it.
func TestAnAgentThatSaysTooMuch(t *testing.T) {
	t.Parallel()
	s := led(t, &quietCloud{}, Options{})
	for i := range 6 { // each of them would fill a transaction of the store
		h := helloFrom(fmt.Sprintf("compute-%02d", 10+i), uuid(10+i))
		h.Labels = map[string]string{"rack": "r1", "x": strings.Repeat("\x01", 900_000)}
		h.AgentVersion, h.Planes["everywhere"], h.Planes["storage"] = strings.Repeat("v", 10_000), "10.0.0.1", "not an address"
		_, l := dialAs(t, s, creds(t, s, h.Host, h.Machine.Uuid), h)
		<-l.welcomed
	}
	_, l := dialAs(t, s, creds(t, s, "compute-20", uuid(0)), helloFrom("compute-20", uuid(0)))
	<-l.welcomed
	for _, host := range []string{"compute-20", "compute-10", "compute-15"} {
		waitFor(t, "the record of "+host+" is written", func() bool {
			rec, err := s.store.Get(t.Context(), agentsPrefix+host)
			return err == nil && len(rec.Value) < 2000
		})
	}
	a, _ := s.agents.of("compute-10")
	if len(a.Planes) != 1 || a.Planes["management"] != "127.0.0.1" || len(a.Labels) != 1 || a.Labels["rack"] != "r1" || len(a.Version) != wordLimit {
		t.Errorf("kept: planes %v, %d labels, a version of %d bytes", a.Planes, len(a.Labels), len(a.Version))
	}
}

// A certificate speaks for one name on one machine, whatever the Hello says.
func TestACertificateOfAnotherHost(t *testing.T) {
	t.Parallel()
	s := led(t, &quietCloud{}, Options{})
	for _, c := range []struct{ says, machine, want string }{
		{"compute-21", uuid(0), "its certificate is for compute-20"},
		{"compute-20", uuid(1), "an operator has to let it join again"},
	} {
		_, l := dialAs(t, s, creds(t, s, "compute-20", uuid(0)), helloFrom(c.says, c.machine))
		select {
		case got := <-l.refused:
			if !strings.Contains(got, c.want) {
				t.Errorf("refused with %q, want %q", got, c.want)
			}
		case <-l.welcomed:
			t.Errorf("%s on %s was welcomed", c.says, c.machine)
		}
		if _, ok := s.agents.of("compute-21"); ok {
			t.Error("compute-21 is known")
		}
	}
}

// An agent that comes and goes without end, each time with another boot, leaves nothing behind but its own record.
func TestAFloodOfHellos(t *testing.T) {
	t.Parallel()
	s := led(t, &quietCloud{}, Options{})
	c := creds(t, s, "compute-20", uuid(0))
	var last []byte
	for range 100 {
		h := helloFrom("compute-20", uuid(0))
		u, l := dialAs(t, s, c, h)
		<-l.welcomed
		u.Close()
		last = h.Boot
	}
	waitFor(t, "its links have ended", func() bool { return s.listener.Links() == 0 && s.agents.count() == 0 })
	boot, err := transport.BootFromBytes(last)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "its last boot is on record", func() bool {
		rec, err := s.store.Get(t.Context(), agentsPrefix+"compute-20")
		return err == nil && strings.Contains(string(rec.Value), boot.String())
	})
}

// A token works once, for one host, on one machine, until it expires.
func TestTokensAreForOneHostOnce(t *testing.T) {
	t.Parallel()
	s := led(t, &quietCloud{}, Options{})
	made := func(host string, life time.Duration, at time.Time) string {
		token, record, err := s.ca.NewToken(host, life, at)
		if err == nil {
			err = s.tokens.Create(t.Context(), record)
		}
		if err != nil {
			t.Fatal(err)
		}
		return token.Text()
	}
	join := func(token, host, machine string) error {
		_, err := transport.Join(t.Context(), transport.JoinOptions{
			Servers: []string{s.AgentsAddr().String()}, Token: token, Host: host, Machine: pki.Machine{UUID: machine}, Dir: t.TempDir(),
		})
		return err
	}
	refused := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	first := made("compute-20", time.Hour, time.Now())
	if err := join(first, "compute-20", uuid(0)); err != nil {
		t.Fatal(err)
	}
	refused("a second use, by the same machine with another key", join(first, "compute-20", uuid(0)), "was used at")
	refused("a second use, by another machine", join(first, "compute-20", uuid(9)), "was used at")
	refused("another host", join(made("compute-21", time.Hour, time.Now()), "compute-22", uuid(2)), "is for host compute-21, not for compute-22")
	refused("too late", join(made("compute-21", time.Hour, time.Now().Add(-2*time.Hour)), "compute-21", uuid(1)), "expired")
	refused("a server's clock an hour ahead of the token's maker", join(made("compute-21", time.Minute, time.Now().Add(-time.Hour)), "compute-21", uuid(1)), "expired")
	second := made("compute-20", time.Hour, time.Now())
	refused("another machine under a known name", join(second, "compute-20", uuid(9)), "ninelives host rejoin compute-20")
	if err := s.agents.rejoin("compute-20"); err != nil {
		t.Fatal(err)
	}
	if err := join(made("compute-20", time.Hour, time.Now()), "compute-20", uuid(9)); err != nil {
		t.Errorf("after a rejoin: %v", err)
	}
	refused("a second other machine", join(made("compute-20", time.Hour, time.Now()), "compute-20", uuid(8)), "host rejoin")
	_, l := dialAs(t, s, creds(t, s, "compute-20", uuid(0)), helloFrom("compute-20", uuid(0)))
	refused("the machine that was replaced", errors.New(<-l.refused), "is known as another machine")
}
