package ipmi

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/bougou/go-ipmi/pkg/crypto"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

// Offsets in an RMCP+ datagram (IPMI 2.0, table 13-8) and in RAKP message 1
// (table 13-11).
const (
	offAuthType = 4 // auth type, after the RMCP header
	offPayload  = 5 // payload type with the flags below
	offSession  = 6 // session id, little-endian
	offLength   = 14
	offBody     = 16

	flagEncrypted     = 0x80
	flagAuthenticated = 0x40

	rakp1Random = offBody + 8
	rakp1Role   = offBody + 24
)

var (
	errResent   = errors.New("a power command is never sent twice")
	errDisarmed = errors.New("the power command was given up")
)

// guard is the socket that the IPMI library talks through. It does three things
// that the library doesn't:
//   - a power command asks for its permit at the write itself, and is written
//     once at most, whatever the library would like to repeat;
//   - inside a session only replies whose integrity code is right come through:
//     the library doesn't look at it, and anybody's datagram could say "off";
//   - during the login only the reply to the last question comes through, so
//     that a late duplicate isn't taken for the next answer.
type guard struct {
	net.Conn

	mu    sync.Mutex
	want  byte   // payload type of the reply to the last write
	rakp1 []byte // the last RAKP message 1 written
	keys  *keys  // set once logged in
	armed *command
	shut  bool // nothing is written any more
}

// command is one power command on its way.
type command struct {
	permit fence.Permit
	sent   bool
	denied error
}

// keys are what a session's replies are checked with.
type keys struct {
	sessionID [4]byte // ours: replies carry it
	integrity types.IntegrityAlg
	k1, k2    []byte
}

// arm makes the next write a power command.
func (g *guard) arm(permit fence.Permit) *command {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = &command{permit: permit}
	return g.armed
}

// disarm ends the power command and says whether it was written and why not. If
// it wasn't, no later write goes through: the library may still hold it.
func (g *guard) disarm() (sent bool, denied error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.armed
	g.armed, g.shut = nil, g.shut || !c.sent
	return c.sent, c.denied
}

// Write notes what is asked, and lets a power command pass once and with its
// permit only.
func (g *guard) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return 0, errDisarmed
	}
	g.note(p)
	if c := g.armed; c != nil {
		if c.sent {
			return 0, errResent
		}
		// The write happens under the lock, so that disarm knows the truth.
		if c.denied = c.permit.Ask(); c.denied != nil {
			return 0, c.denied
		}
		c.sent = true
	}
	return g.Conn.Write(p)
}

func (g *guard) note(p []byte) {
	if len(p) <= offBody || p[offAuthType] != byte(types.AuthTypeRMCPPlus) {
		return
	}
	asked := p[offPayload] &^ (flagEncrypted | flagAuthenticated)
	switch types.PayloadType(asked) {
	case types.PayloadTypeIPMI:
		g.want = asked
	case types.PayloadTypeRAKPMessage1:
		g.rakp1 = append(g.rakp1[:0], p...)
		g.want = asked + 1
	default: // open session and RAKP message 3: each reply is the next number
		g.want = asked + 1
	}
}

// Read returns the next datagram that belongs here and drops all others, until
// the read deadline.
func (g *guard) Read(p []byte) (int, error) {
	for {
		n, err := g.Conn.Read(p)
		if err != nil {
			return n, err
		}
		g.mu.Lock()
		want, keys := g.want, g.keys
		g.mu.Unlock()
		if acceptable(p[:n], want, keys) {
			return n, nil
		}
	}
}

// acceptable reports whether a datagram may reach the library.
func acceptable(d []byte, want byte, k *keys) bool {
	if len(d) <= offBody || d[offAuthType] != byte(types.AuthTypeRMCPPlus) {
		return false
	}
	end := offBody + int(d[offLength]) + int(d[offLength+1])<<8
	if d[offPayload]&^(flagEncrypted|flagAuthenticated) != want || end > len(d) {
		return false
	}
	if k == nil {
		return d[offPayload] == want // nothing is encrypted before a session
	}
	return k.genuine(d, d[offBody:end])
}

// genuine reports whether a reply was made by who knows the session's keys, and
// can be decrypted.
func (k *keys) genuine(d, body []byte) bool {
	codeLen, known := crypto.IntegrityAuthCodeLen(k.integrity)
	signed := len(d) - codeLen
	if !known || codeLen == 0 || d[offPayload]&(flagEncrypted|flagAuthenticated) != flagEncrypted|flagAuthenticated {
		return false
	}
	// Pad length and next header stand between body and code.
	if [4]byte(d[offSession:offSession+4]) != k.sessionID || signed < offBody+len(body)+2 {
		return false
	}
	code, err := crypto.SessionIntegrityAuthCode(k.integrity, d[offAuthType:signed], k.k1, "")
	if err != nil || !crypto.Equal(code, d[signed:]) {
		return false
	}
	if len(body) < 32 || len(body)%16 != 0 {
		return false
	}
	plain, err := crypto.DecryptAESPayload(body, k.k2)
	return err == nil && len(plain) > 0
}

// login derives the session's keys from what was exchanged and lets only
// genuine replies through from now on.
func (g *guard) login(e exchange) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.rakp1) <= rakp1Role {
		return fmt.Errorf("cannot derive the session's keys: RAKP message 1 of %d bytes", len(g.rakp1))
	}
	_, k1, k2, err := crypto.DeriveSessionKeys(e.auth, g.rakp1[rakp1Random:rakp1Role], e.bmcRandom,
		g.rakp1[rakp1Role], e.username, crypto.PadPassword20([]byte(e.password.Reveal())))
	if err != nil {
		return fmt.Errorf("cannot derive the session's keys: %w", err)
	}
	g.keys = &keys{sessionID: e.sessionID, integrity: e.integrity, k1: k1, k2: k2}
	return nil
}

// loggedIn reports whether a session is open, as far as we know.
func (g *guard) loggedIn() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.keys != nil
}

// exchange is what a login agreed on.
type exchange struct {
	auth      types.AuthAlg
	integrity types.IntegrityAlg
	bmcRandom []byte
	sessionID [4]byte
	username  string
	password  fence.Secret
}
