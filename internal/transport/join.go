package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/status"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/proto/agentv1"
)

// AgentFiles is the name under which an agent's credentials lie in its data directory (pki.LoadCredentials).
const AgentFiles = "agent"

// JoinOptions is what Join needs.
type JoinOptions struct {
	Servers []string // asked in this order until one answers
	Token   string
	Host    string
	Machine pki.Machine
	Dir     string // where key, certificate and CA are stored, as AgentFiles
	// DialContext opens connections; nil: net.Dialer.
	DialContext func(ctx context.Context, addr string) (net.Conn, error)
}

// Join trades a token for credentials and stores them in Dir. When the answer is lost, the same token works again: the
// key that it was used for is kept in Dir until the certificate is there.
func Join(ctx context.Context, o JoinOptions) (*pki.Credentials, error) {
	creds, err := join(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("cannot join as host %s: %w", o.Host, err)
	}
	return creds, nil
}

func join(ctx context.Context, o JoinOptions) (*pki.Credentials, error) {
	token, err := pki.ParseToken(o.Token)
	if err != nil {
		return nil, err
	}
	if len(o.Servers) == 0 {
		return nil, errors.New("no servers are named")
	}
	keyFile := filepath.Join(o.Dir, AgentFiles+".joining.key")
	key, err := pki.LoadKey(keyFile)
	if err != nil {
		return nil, err
	}
	csr, err := pki.NewRequest(key)
	if err != nil {
		return nil, err
	}
	m := o.Machine.Normal()
	req := &agentv1.JoinRequest{
		Token: token.Wire(), Csr: csr, Host: o.Host, Machine: &agentv1.Machine{Uuid: m.UUID, Serial: m.Serial},
	}
	answer, err := askAny(ctx, o.Servers, pki.JoinTLS(token, time.Now), o.DialContext,
		func(ctx context.Context, c agentv1.AgentClient) (*agentv1.Credentials, error) {
			return c.Join(ctx, req)
		})
	if err != nil {
		return nil, err
	}
	creds, err := credentialsOf(answer, key)
	if err != nil {
		return nil, err
	}
	if creds.Identity.Name != o.Host || creds.Identity.Machine != m {
		return nil, fmt.Errorf("the certificate that came is for %s on %s", creds.Identity.Name, creds.Identity.Machine)
	}
	if err := creds.Save(o.Dir, AgentFiles); err != nil {
		return nil, err
	}
	return creds, os.Remove(keyFile)
}

func credentialsOf(answer *agentv1.Credentials, key *ecdsa.PrivateKey) (*pki.Credentials, error) {
	if len(answer.GetChain()) != 1 {
		return nil, fmt.Errorf("the server's answer has %d certificates, want one", len(answer.GetChain()))
	}
	return pki.NewCredentials(answer.GetChain()[0], answer.GetCa(), key)
}

// askAny makes one call to the servers in turn until one answers. All errors are told.
func askAny(ctx context.Context, servers []string, config *tls.Config, dial dialFunc,
	call func(context.Context, agentv1.AgentClient) (*agentv1.Credentials, error),
) (*agentv1.Credentials, error) {
	var errs []error
	for _, addr := range servers {
		answer, err := func() (*agentv1.Credentials, error) {
			cc, err := connect(addr, config, dial)
			if err != nil {
				return nil, err
			}
			defer cc.Close() //nolint:errcheck // nothing is lost with it
			ctx, cancel := context.WithTimeout(ctx, openWithin)
			defer cancel()
			return call(ctx, agentv1.NewAgentClient(cc))
		}()
		if err == nil {
			return answer, nil
		}
		errs = append(errs, fmt.Errorf("server %s: %s", addr, status.Convert(err).Message()))
	}
	return nil, errors.Join(errs...)
}

// Renew gets the next certificate with the present one, which may have expired. It stores nothing.
func Renew(ctx context.Context, servers []string, present *pki.Credentials, dial func(ctx context.Context, addr string) (net.Conn, error)) (*pki.Credentials, error) {
	key, err := pki.NewKey()
	if err != nil {
		return nil, fmt.Errorf("cannot renew the certificate: %w", err)
	}
	csr, err := pki.NewRequest(key)
	if err != nil {
		return nil, fmt.Errorf("cannot renew the certificate: %w", err)
	}
	config := pki.AgentTLS(func() *pki.Credentials { return present }, time.Now)
	answer, err := askAny(ctx, servers, config, dial,
		func(ctx context.Context, c agentv1.AgentClient) (*agentv1.Credentials, error) {
			return c.Renew(ctx, &agentv1.RenewRequest{Csr: csr})
		})
	if err != nil {
		return nil, fmt.Errorf("cannot renew the certificate: %w", err)
	}
	fresh, err := credentialsOf(answer, key)
	if err != nil {
		return nil, fmt.Errorf("cannot renew the certificate: %w", err)
	}
	if fresh.Identity != present.Identity || !fresh.CA.Equal(present.CA) {
		return nil, fmt.Errorf("cannot renew the certificate: what came is for %s of another identity or CA", fresh.Identity.Name)
	}
	return fresh, nil
}

// renew keeps the agent's certificate young. It looks every hour; while the certificate is expired, which shuts the
// agent out, every few seconds.
func (u *Uplinks) renew(ctx context.Context) {
	for {
		creds, now := u.creds.Load(), time.Now()
		next := time.Hour/2 + rand.N(time.Hour)
		if !now.Before(creds.RenewAt()) {
			if err := u.renewOnce(ctx, creds); err != nil {
				u.log.Error("the certificate was not renewed", "expires", creds.Leaf.NotAfter, "error", err)
				if now.After(creds.Leaf.NotAfter) {
					next = retryMost + rand.N(retryMost)
				}
			}
		}
		if !wait(ctx, next) {
			return
		}
	}
}

func (u *Uplinks) renewOnce(ctx context.Context, present *pki.Credentials) error {
	var servers []string
	for _, l := range u.all() {
		servers = append(servers, l.addr)
	}
	fresh, err := Renew(ctx, servers, present, u.o.DialContext)
	if err != nil {
		return err
	}
	// Stored first: a certificate in use that a restart forgets would be missed half a year later.
	if err := u.o.SaveRenewed(fresh); err != nil {
		return fmt.Errorf("cannot store the renewed certificate: %w", err)
	}
	u.creds.Store(fresh)
	u.log.Info("the certificate was renewed", "expires", fresh.Leaf.NotAfter)
	return nil
}
