package ipmi

import (
	"testing"

	"github.com/bougou/go-ipmi/pkg/crypto"
	"github.com/bougou/go-ipmi/pkg/types"
)

func testKeys() *keys {
	k := make([]byte, 32)
	return &keys{sessionID: [4]byte{0xa3, 0xa2, 0xa1, 0xa0}, integrity: types.IntegrityAlg_HMAC_SHA256_128, k1: k, k2: k}
}

// genuineReply builds a reply as a BMC that knows the keys would.
func genuineReply(t testing.TB, k *keys) []byte {
	t.Helper()
	body, err := crypto.EncryptAESPayload([]byte{0x81, 0x04, 0x7b, 0x20, 0x04, 0x01, 0x00, 0x01, 0, 0, 0}, k.k2, make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	d := []byte{6, 0, 0xff, 7, 6, flagEncrypted | flagAuthenticated}
	d = append(append(d, k.sessionID[:]...), 1, 0, 0, 0, byte(len(body)), byte(len(body)>>8))
	d = append(append(d, body...), 0xff, 0xff, 2, 7)
	code, err := crypto.SessionIntegrityAuthCode(k.integrity, d[offAuthType:], k.k1, "")
	if err != nil {
		t.Fatal(err)
	}
	return append(d, code...)
}

// FuzzAcceptable tries to get a datagram past the guard that nobody signed.
func FuzzAcceptable(f *testing.F) {
	k := testKeys()
	good := genuineReply(f, k)
	if !acceptable(good, byte(types.PayloadTypeIPMI), k) {
		f.Fatal("a genuine reply is dropped")
	}
	f.Add(good)
	for i := 0; i < len(good); i += 7 {
		f.Add(good[:i])
	}
	f.Fuzz(func(t *testing.T, d []byte) {
		acceptable(d, byte(types.PayloadTypeRmcpOpenSessionResponse), nil)
		if acceptable(d, byte(types.PayloadTypeIPMI), k) && string(d[offAuthType:]) != string(good[offAuthType:]) {
			t.Errorf("a datagram that nobody signed was accepted: %x", d)
		}
	})
}
