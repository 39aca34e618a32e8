package pki

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// DefaultTokenLife is how long a token may be used unless it is said otherwise.
const DefaultTokenLife = 24 * time.Hour

// ErrNoToken is what Tokens.Redeem returns for an ID that it doesn't know.
var ErrNoToken = errors.New("there is no such token: it was mistyped, or expired and was cleared away")

// Token is a one-time token as an operator hands it to a host: ID.secret.fingerprint. It prints as its ID only;
// Text is the whole.
type Token struct {
	ID     string
	secret string
	// CA is the SHA-256 of the CA's certificate, so that the agent knows the right server before it tells it the secret.
	CA string
}

// TokenRecord is what servers keep of a token: never the secret.
type TokenRecord struct {
	Format  int       `json:"format"`
	ID      string    `json:"id"`
	Hash    string    `json:"hash"` // SHA-256 of the secret, hex
	Host    string    `json:"host"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`

	// Set at its use:
	Used    time.Time `json:"used,omitzero"`
	Machine Machine   `json:"machine,omitzero"`
	Key     string    `json:"key,omitempty"` // SHA-256 of the public key that it was used for, hex
}

// Tokens is where servers keep token records; all servers see the same.
type Tokens interface {
	// Create stores a new record.
	Create(ctx context.Context, r TokenRecord) error
	// Redeem reads the record with this ID (ErrNoToken if there is none), hands it to use, and stores what use
	// returns, all in one transaction: no two Redeems of one ID both store. It calls use again after a conflict. An
	// error of use is returned as it is and nothing is stored.
	Redeem(ctx context.Context, id string, use func(TokenRecord) (TokenRecord, error)) error
}

// Redemption is an attempt to use a token.
type Redemption struct {
	Secret  string
	Host    string
	Machine Machine
	Key     string // SHA-256 of the public key, hex
	Now     time.Time
}

// NewToken makes a token for one host. life 0: DefaultTokenLife.
func (ca *CA) NewToken(host string, life time.Duration, now time.Time) (Token, TokenRecord, error) {
	if err := ValidName(host); err != nil {
		return Token{}, TokenRecord{}, fmt.Errorf("cannot make a token: %w", err)
	}
	if life == 0 {
		life = DefaultTokenLife
	}
	if life < 0 {
		return Token{}, TokenRecord{}, fmt.Errorf("cannot make a token for %s: its life of %s is negative", host, life)
	}
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails (Go 1.24 on)
	t := Token{ID: hex.EncodeToString(id[:]), secret: strings.ToLower(rand.Text()), CA: ca.Fingerprint()}
	return t, TokenRecord{
		Format: 1, ID: t.ID, Hash: hashOf(t.secret), Host: host,
		Created: now.UTC(), Expires: now.Add(life).UTC(),
	}, nil
}

// ParseToken reads what Text wrote.
func ParseToken(s string) (Token, error) {
	parts := strings.Split(strings.TrimSpace(s), ".")
	if len(parts) != 3 || len(parts[0]) != 8 || len(parts[1]) < 26 || len(parts[2]) != 64 {
		return Token{}, errors.New("this is no token: it should be ID.secret.fingerprint as `ninelives token create` printed it")
	}
	if _, err := hex.DecodeString(parts[2]); err != nil {
		return Token{}, errors.New("this is no token: its last part is not a fingerprint")
	}
	return Token{ID: parts[0], secret: parts[1], CA: parts[2]}, nil
}

// Text is the whole token. It is a secret until it was used.
func (t Token) Text() string { return t.ID + "." + t.secret + "." + t.CA }

// Wire is what is sent to the server: all but the fingerprint.
func (t Token) Wire() string { return t.ID + "." + t.secret }

// String hides the secret.
func (t Token) String() string { return t.ID + ".***" }

// GoString hides the secret.
func (t Token) GoString() string { return t.String() }

// SplitWire takes apart what Wire wrote.
func SplitWire(s string) (id, secret string, err error) {
	id, secret, ok := strings.Cut(s, ".")
	if !ok || len(id) != 8 || len(secret) < 26 || len(secret) > 64 {
		return "", "", errors.New("this is no token")
	}
	return id, secret, nil
}

// Use checks an attempt against the record and returns the record to store. Single use means one key: the machine that
// used the token may repeat with the same key while the token lives, for the answer may have been lost on its way.
func (r TokenRecord) Use(a Redemption) (TokenRecord, error) {
	switch {
	case !hmac.Equal([]byte(r.Hash), []byte(hashOf(a.Secret))):
		return r, ErrNoToken // says no more to somebody who guesses
	case !a.Now.Before(r.Expires):
		return r, fmt.Errorf("token %s expired at %s; ask the operator for another", r.ID, r.Expires.Format(time.RFC3339))
	case a.Host != r.Host:
		return r, fmt.Errorf("token %s is for host %s, not for %s", r.ID, r.Host, a.Host)
	case a.Key == "":
		return r, fmt.Errorf("token %s cannot be used without a key", r.ID)
	case r.Used.IsZero():
		r.Used, r.Machine, r.Key = a.Now.UTC(), a.Machine, a.Key
		return r, nil
	case a.Machine != r.Machine || a.Key != r.Key:
		return r, fmt.Errorf("token %s was used at %s by machine %s", r.ID, r.Used.Format(time.RFC3339), r.Machine)
	}
	return r, nil
}

func hashOf(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}
