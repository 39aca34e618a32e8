package ipmi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/rmcpplus"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

// maxAge is how long a session is used. BMCs drop a silent one after 60 s
// (IPMI 2.0, 6.12.15) and have few of them, so none is kept alive on purpose.
const maxAge = 25 * time.Second

// goodbye bounds the end of a session whose BMC doesn't answer.
const goodbye = 50 * time.Millisecond

// retries is how often a read is sent again within one exchange.
const retries = 3

// session is one RMCP+ session at operator level. Not for concurrent use.
type session struct {
	client *client.Client
	guard  *guard
	opened time.Time
}

// dialer hands the library a guarded socket.
type dialer struct {
	ctx     context.Context // of the login that is going on: Dial has no other way to get it
	address string
	made    *guard
}

// Dial ignores the address that the library put together: it can't write IPv6.
func (d *dialer) Dial(network, _ string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(d.ctx, network, d.address)
	if err != nil {
		return nil, err
	}
	d.made.Conn = conn
	return d.made, nil
}

// openSession logs in with one cipher suite.
//
// The steps are taken one by one instead of by the library's Connect, which
// hides which of them failed, starts a goroutine that talks in between, and
// begins with a question that not every BMC answers in its form.
func (d *device) openSession(ctx context.Context, suite types.CipherSuiteID) (*session, error) {
	password, err := d.spec.Password()
	if err != nil {
		return nil, err
	}
	if len(password.Reveal()) > 20 {
		return nil, fmt.Errorf("the password is longer than the 20 characters that IPMI allows: %w", fence.ErrLogin)
	}
	c, err := client.NewClient(d.host, d.port, d.spec.Username, password.Reveal())
	if err != nil {
		return nil, fmt.Errorf("cannot prepare IPMI: %w", err)
	}
	g := &guard{}
	c.WithUDPProxy(&dialer{ctx: ctx, address: net.JoinHostPort(d.host, strconv.Itoa(d.port)), made: g}).
		WithTimeout(d.opts.Timeout / (retries + 2)).WithRetry(retries).
		WithCipherSuiteID(suite).WithMaxPrivilegeLevel(types.PrivilegeLevelOperator)
	s := &session{client: c, guard: g, opened: time.Now()}
	if err := s.tryLogin(ctx, suite, d.spec.Username, password); err != nil {
		s.giveUp()
		return nil, err
	}
	return s, nil
}

// tryLogin is login for a BMC that may answer anything: the library takes a truncated reply apart without counting.
func (s *session) tryLogin(ctx context.Context, suite types.CipherSuiteID, username string, password fence.Secret) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the BMC's reply to the login makes no sense: %v", r)
		}
	}()
	return s.login(ctx, suite, username, password)
}

func (s *session) login(ctx context.Context, suite types.CipherSuiteID, username string, password fence.Secret) error {
	opened, err := s.client.OpenSession(ctx)
	if err != nil {
		return loginError(err)
	}
	auth, integrity, crypt, _ := types.GetCipherSuiteAlgorithms(suite)
	// A reply that talks us down to no authentication is not the BMC's.
	if opened.AuthAlg != uint8(auth) || opened.IntegrityAlg != uint8(integrity) || opened.CryptAlg != uint8(crypt) {
		return fmt.Errorf("%w: the BMC offers other algorithms than those of suite %d", errSuite, suite)
	}
	rakp2, err := s.client.RAKPMessage1(ctx)
	if err != nil {
		return loginError(err)
	}
	if _, err := s.client.RAKPMessage3(ctx); err != nil {
		return loginError(err)
	}
	e := exchange{auth: auth, integrity: integrity, bmcRandom: rakp2.ManagedSystemRandomNumber[:], username: username, password: password}
	binary.LittleEndian.PutUint32(e.sessionID[:], sessionIDOf(opened))
	if err := s.guard.login(e); err != nil {
		return err
	}
	if _, err := s.client.SetSessionPrivilegeLevel(ctx, types.PrivilegeLevelOperator); err != nil {
		if code, ok := completion(err); ok {
			return fmt.Errorf("%w: the BMC refuses operator level (completion code %#02x)", fence.ErrPrivilege, code)
		}
		return loginError(err)
	}
	return nil
}

func sessionIDOf(r *rmcpplus.OpenSessionResponse) uint32 { return r.RemoteConsoleSessionID }

// errSuite says that the BMC doesn't speak a cipher suite; another may do.
var errSuite = errors.New("cipher suite not supported")

// loginError puts a failed login into the words of package fence.
func loginError(err error) error {
	var status *types.RmcpStatusError
	if errors.As(err, &status) {
		switch status.StatusCode() {
		case types.RmcpStatusCodeUnauthorizedName, types.RmcpStatusCodeInvalidIntegrityCheckValue, types.RmcpStatusCodeInvalidNameLength:
			return fmt.Errorf("BMC %w: check user name and password (%s)", fence.ErrLogin, status.StatusCode())
		case types.RmcpStatusCodeInvalidRole, types.RmcpStatusCodeUnauthorizedRoleOfPriLevel:
			return fmt.Errorf("%w: the BMC refuses operator level (%s)", fence.ErrPrivilege, status.StatusCode())
		case types.RmcpStatusCodeInvalidAuthAlg, types.RmcpStatusCodeInvalidIntegrityAlg, types.RmcpStatusCodeInvalidConfidentAlg,
			types.RmcpStatusCodeNoMatchingAuthPayload, types.RmcpStatusCodeNoMatchingIntegrityPayload, types.RmcpStatusCodeNoCipherSuiteMatch:
			return fmt.Errorf("%w (%s)", errSuite, status.StatusCode())
		}
		return fmt.Errorf("the BMC opens no session (%s)", status.StatusCode())
	}
	if errors.Is(err, client.ErrRAKPAuthentication) {
		return fmt.Errorf("BMC %w: check user name and password", fence.ErrLogin)
	}
	return silence(err)
}

// silence turns what the library says about a missing reply into ErrUnreachable.
func silence(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	var op *net.OpError
	if errors.As(err, &op) && !op.Timeout() {
		return fmt.Errorf("%w from the BMC: %w", fence.ErrUnreachable, op.Err)
	}
	return fmt.Errorf("%w from the BMC", fence.ErrUnreachable)
}

// completion is the code with which the BMC refused a request.
func completion(err error) (types.CompletionCode, bool) {
	var refused *types.ResponseError
	if errors.As(err, &refused) && refused.CompletionCode() != types.CodeOK {
		return refused.CompletionCode(), true
	}
	return 0, false
}

// close says goodbye, so that the BMC can give the session to somebody else.
func (s *session) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err := s.client.WithRetry(0).Close(ctx)
	s.drop()
	return err
}

// giveUp ends a session in which the BMC was silent, or that was never complete.
// The goodbye is sent but not waited for: BMCs have few sessions, and each one
// left open counts for a minute.
func (s *session) giveUp() {
	if !s.guard.loggedIn() {
		s.drop()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	_ = s.close(ctx) // it was silent before, and most likely is now
}

// drop closes the socket.
func (s *session) drop() {
	s.guard.mu.Lock()
	defer s.guard.mu.Unlock()
	s.guard.shut = true
	if s.guard.Conn != nil {
		_ = s.guard.Conn.Close() // a UDP socket has nothing left to lose
	}
}
