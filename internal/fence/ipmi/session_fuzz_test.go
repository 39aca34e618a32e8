package ipmi

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/bougou/go-ipmi/pkg/bmc"
	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/crypto"
	"github.com/bougou/go-ipmi/pkg/hal/mock"
	"github.com/bougou/go-ipmi/pkg/server"
	"github.com/bougou/go-ipmi/pkg/transport/udp"
	"github.com/bougou/go-ipmi/pkg/types"

	"github.com/ninelives-ha/ninelives/internal/fence"
)

// told is a socket whose other end answers each datagram with what answer makes of it, and is silent otherwise. Silence
// takes no time.
type told struct {
	mu      sync.Mutex
	waiting [][]byte
	answer  func(asked []byte) [][]byte
}

func (c *told) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, c.answer(p)...)
	return len(p), nil
}

func (c *told) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) == 0 {
		return 0, io.EOF // a deadline would be waited for
	}
	n := copy(p, c.waiting[0])
	c.waiting = c.waiting[1:]
	return n, nil
}

func (*told) Close() error                     { return nil }
func (*told) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (*told) RemoteAddr() net.Addr             { return &net.UDPAddr{} }
func (*told) SetDeadline(time.Time) error      { return nil }
func (*told) SetReadDeadline(time.Time) error  { return nil }
func (*told) SetWriteDeadline(time.Time) error { return nil }

// Dial makes it the library's socket.
func (c *told) Dial(string, string) (net.Conn, error) { return &guard{Conn: c}, nil }

// plain is an RMCP+ datagram outside of a session.
func plain(kind byte, payload []byte) []byte {
	d := []byte{6, 0, 0xff, 7, 6, kind, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(payload)), byte(len(payload) >> 8)}
	return append(d, payload...)
}

// FuzzLogin answers the first messages of a login with anything; whole datagrams, or payloads in a right frame.
func FuzzLogin(f *testing.F) {
	f.Add([]byte{}, []byte{}, false)
	f.Add([]byte{0, 0, 4, 0, 0xa4, 0xa3, 0xa2, 0xa0, 1, 2, 3, 4, 0, 0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 8, 4, 0, 0, 0, 2, 0, 0, 8, 1, 0, 0, 0}, make([]byte, 40), true)
	f.Add([]byte{0, 2}, []byte{0, 13, 0, 0, 0, 0, 0, 0}, true)
	f.Add(plain(byte(types.PayloadTypeRmcpOpenSessionResponse), make([]byte, 35)), plain(0x13, []byte{1}), false)
	f.Fuzz(func(t *testing.T, first, second []byte, framed bool) {
		n := 0
		conn := &told{answer: func(asked []byte) [][]byte {
			payload := first
			if n++; n > 1 {
				payload = second
			}
			if !framed {
				return [][]byte{payload}
			}
			return [][]byte{plain(asked[offPayload]+1, payload)}
		}}
		c, err := client.NewClient("192.0.2.1", defaultPort, "u", "p")
		if err != nil {
			t.Fatal(err)
		}
		c.WithUDPProxy(conn).WithTimeout(time.Second).WithRetry(0).WithCipherSuiteID(types.CipherSuiteID17)
		s := &session{client: c, guard: &guard{}}
		if err := s.tryLogin(t.Context(), types.CipherSuiteID17, "u", fence.NewSecret("p")); err == nil {
			t.Error("logged in at a BMC that doesn't know the password")
		}
	})
}

// FuzzSession answers, in a session that was opened properly, with anything that the BMC itself may have signed: whole
// messages, or the data of an answer that fits the question.
func FuzzSession(f *testing.F) {
	f.Add([]byte{0x01, 0, 0, 0}, true, uint8(0))
	f.Add([]byte{0x20}, true, uint8(0))
	f.Add([]byte{}, true, uint8(0xd4))
	f.Add([]byte{0x81, 0x04, 0x7b, 0x20, 0x04, 0x01, 0x00, 0x01, 0, 0, 0}, false, uint8(0))
	f.Add(make([]byte, 16), true, uint8(0))
	s := loggedIn(f)
	g := s.guard
	s.client.WithRetry(0)
	f.Fuzz(func(t *testing.T, data []byte, fits bool, code uint8) {
		conn := &told{answer: func(asked []byte) [][]byte {
			message := data
			if fits {
				message = g.keys.fitting(asked, code, data)
			}
			return [][]byte{g.keys.signed(t, message)}
		}}
		g.Conn = conn
		state, err := s.power(t.Context())
		valid := fits && code == 0 && len(data) >= 3
		switch {
		case err != nil && state != fence.StateUnknown:
			t.Errorf("%s, with the error %v", state, err)
		case err == nil && fits && (!valid || (state == fence.StateOn) != (data[0]&1 == 1)):
			t.Errorf("%x with completion code %#x reads %s", data, code, state)
		}
		if guid, err := s.client.GetSystemGUID(t.Context()); err == nil && fits && text(guid.GUID) != text([16]byte(data)) {
			t.Errorf("%x is the GUID %s", data, text(guid.GUID))
		}
	})
}

// fitting is an answer to a request that was written, with this completion code and data.
func (k *keys) fitting(asked []byte, code uint8, data []byte) []byte {
	end := offBody + int(asked[offLength]) + int(asked[offLength+1])<<8
	q, err := crypto.DecryptAESPayload(asked[offBody:end], k.k2)
	if err != nil || len(q) < 6 {
		return nil
	}
	m := append([]byte{q[3], q[1] + 4, 0, q[0], q[4], q[5], code}, data...)
	return append(m, 0)
}

// signed is the datagram with which the BMC would send a message.
func (k *keys) signed(t testing.TB, message []byte) []byte {
	body, err := crypto.EncryptAESPayload(message, k.k2, make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	d := []byte{6, 0, 0xff, 7, 6, flagEncrypted | flagAuthenticated}
	d = append(append(d, k.sessionID[:]...), 1, 0, 0, 0, byte(len(body)), byte(len(body)>>8))
	d = append(append(d, body...), 0xff, 0xff, 2, 7)
	sum, err := crypto.SessionIntegrityAuthCode(k.integrity, d[offAuthType:], k.k1, "")
	if err != nil {
		t.Fatal(err)
	}
	return append(d, sum...)
}

// loggedIn is a session with a real, small BMC on loopback.
func loggedIn(f *testing.F) *session {
	const user, password = "fencer", "s3cret-horse"
	state := bmc.New(bmc.DeviceInfo{}, [16]byte{1}, mock.New())
	u, err := state.Users.Add(2, user)
	if err != nil {
		f.Fatal(err)
	}
	err = state.Users.Update(u.ID, func(u *bmc.User) error {
		u.SetPassword([]byte(password))
		u.Enabled = true
		u.ChannelAccess = map[uint8]bmc.UserChannelAccess{1: {MaxPrivilege: bmc.PrivilegeLevelOperator, Enabled: true}}
		return nil
	})
	if err != nil {
		f.Fatal(err)
	}
	conn, err := udp.Listen("127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	srv := server.NewServer(state, conn)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ctx) }()
	f.Cleanup(func() { cancel(); _ = srv.Close(); <-done })
	file := filepath.Join(f.TempDir(), "bmc.pass")
	if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
		f.Fatal(err)
	}
	spec := fence.Spec{Driver: fence.DriverIPMI, Address: conn.LocalAddr().String(), Username: user, PasswordFile: file}
	opened, err := Open(spec, fence.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	d, ok := opened.(*device)
	if !ok {
		f.Fatalf("%T is no device", opened)
	}
	if err := d.connect(f.Context()); err != nil {
		f.Fatal(err)
	}
	return d.session
}
