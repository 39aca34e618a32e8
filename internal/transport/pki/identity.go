package pki

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
)

// Role is what a certificate's owner is.
type Role string

// Roles of certificates.
const (
	RoleServer Role = "server"
	RoleAgent  Role = "agent"
)

// Machine is what a fence device kills, by its firmware's (DMI's) own identity.
type Machine struct {
	UUID   string `json:"uuid,omitempty"`
	Serial string `json:"serial,omitempty"`
}

// IsZero is true if nothing is known of the machine.
func (m Machine) IsZero() bool { return m == Machine{} }

// String is for people.
func (m Machine) String() string {
	switch {
	case m.IsZero():
		return "unknown machine"
	case m.Serial == "":
		return m.UUID
	case m.UUID == "":
		return "serial " + m.Serial
	}
	return m.UUID + " (serial " + m.Serial + ")"
}

// Normal lowers the UUID's case and trims blanks, as firmware isn't consistent in either.
func (m Machine) Normal() Machine {
	return Machine{UUID: strings.ToLower(strings.TrimSpace(m.UUID)), Serial: strings.TrimSpace(m.Serial)}
}

// Identity is whom a certificate names.
type Identity struct {
	Role    Role
	Name    string  // server's name, or host as Nova names it
	Machine Machine // of an agent
}

// uri is how an identity lies in the certificate's SAN: a form that can't be mistaken for a DNS name, whatever
// characters host names and serials have.
func (id Identity) uri() *url.URL {
	u := &url.URL{Scheme: "ninelives", Host: string(id.Role), Path: "/" + id.Name}
	if id.Role == RoleAgent {
		u.RawQuery = url.Values{"uuid": {id.Machine.UUID}, "serial": {id.Machine.Serial}}.Encode()
	}
	return u
}

// IdentityOf reads whom a certificate names. It checks no signature.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != "ninelives" {
		return Identity{}, fmt.Errorf("the certificate of %q names no server or agent of ninelives", cert.Subject.CommonName)
	}
	u := cert.URIs[0]
	id := Identity{Role: Role(u.Host), Name: strings.TrimPrefix(u.Path, "/")}
	if id.Name == "" {
		return Identity{}, fmt.Errorf("the certificate names nobody: %s", u)
	}
	switch id.Role {
	case RoleServer:
	case RoleAgent:
		q := u.Query()
		id.Machine = Machine{UUID: q.Get("uuid"), Serial: q.Get("serial")}
	default:
		return Identity{}, fmt.Errorf("the certificate has the unknown role %q", u.Host)
	}
	return id, nil
}

// ValidName says why a name can't be put into a certificate; nil if it can. Host names of Nova may be anything up to
// 255 characters; blanks and slashes are refused because no cloud has them and paths and URIs do.
func ValidName(name string) error {
	if name == "" || len(name) > 255 {
		return fmt.Errorf("a name has 1 to 255 characters, not %d", len(name))
	}
	for _, r := range name {
		if r <= ' ' || r > '~' || strings.ContainsRune(`/\?#%"'`, r) {
			return fmt.Errorf("the name %q has the character %q, which no host name has", name, r)
		}
	}
	return nil
}
