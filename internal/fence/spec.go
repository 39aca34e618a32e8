package fence

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// Names of the drivers, as written in devices.yaml.
const (
	DriverIPMI    = "ipmi"
	DriverRedfish = "redfish"
	DriverAgent   = "agent"
)

var driverNames = [...]string{DriverIPMI, DriverRedfish, DriverAgent}

// Spec declares one device: an entry of devices.yaml, stored as JSON. It names
// where a password is, never the password.
type Spec struct {
	Driver string `yaml:"driver" json:"driver"`

	// Address is host, host:port or [v6]:port for ipmi (port 623 if absent); a
	// host or https URL for redfish. Agents have it among their options.
	Address      string `yaml:"address,omitempty" json:"address,omitempty"`
	Username     string `yaml:"username,omitempty" json:"username,omitempty"`
	PasswordFile string `yaml:"password_file,omitempty" json:"password_file,omitempty"`
	PasswordEnv  string `yaml:"password_env,omitempty" json:"password_env,omitempty"`

	// Cipher is the one IPMI cipher suite to use; 0: 17, then 3.
	Cipher int `yaml:"cipher,omitempty" json:"cipher,omitempty"`

	// System is the Redfish system's id or path; absent: the only one.
	System string `yaml:"system,omitempty" json:"system,omitempty"`
	// CAFile holds the certificates that the Redfish service's may be signed
	// with; absent: the system's. Insecure switches the check off.
	CAFile   string `yaml:"ca_file,omitempty" json:"ca_file,omitempty"`
	Insecure bool   `yaml:"insecure,omitempty" json:"insecure,omitempty"`

	// Agent is the ClusterLabs agent's name, such as fence_apc, and Options
	// what it gets on its standard input. For a secret option, name its place:
	// password_file or password_env.
	Agent   string            `yaml:"agent,omitempty" json:"agent,omitempty"`
	Options map[string]string `yaml:"options,omitempty" json:"options,omitempty"`
}

// Password reads the device's password, see ReadSecret.
func (s Spec) Password() (Secret, error) { return ReadSecret(s.PasswordFile, s.PasswordEnv) }

// SpecError is what is wrong with a declaration.
type SpecError struct {
	Key   string // the key that is wrong, e.g. "address" or "options.password"
	Words string

	// secret: the value is one, or holds one, and must not be shown.
	secret bool
}

func (e *SpecError) Error() string { return e.Key + ": " + e.Words }

func wrong(key, format string, args ...any) error {
	return &SpecError{Key: key, Words: fmt.Sprintf(format, args...)}
}

// Validate says what is wrong with a declaration, all at once, without looking
// at any file or device. The errors are *SpecError, joined.
func (s Spec) Validate() error {
	var errs []error
	switch s.Driver {
	case "":
		return wrong("driver", "missing; one of %s", strings.Join(driverNames[:], ", "))
	case DriverIPMI:
		errs = append(errs, s.validateIPMI()...)
	case DriverRedfish:
		errs = append(errs, s.validateRedfish()...)
	case DriverAgent:
		errs = append(errs, s.validateAgent()...)
	default:
		return wrong("driver", "unknown driver %q, %s", s.Driver, meantDriver(s.Driver))
	}
	return errors.Join(append(errs, s.foreignKeys()...)...)
}

func meantDriver(got string) string {
	if strings.HasPrefix(got, "fence_") {
		return fmt.Sprintf("did you mean driver: agent, agent: %s?", got)
	}
	if near := yamlfile.Nearest(got, driverNames[:]); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "known: " + strings.Join(driverNames[:], ", ")
}

// foreignKeys finds keys that belong to another driver: they would be ignored
// silently, and somebody relies on them.
func (s Spec) foreignKeys() (errs []error) {
	keys := []struct {
		name    string
		set     bool
		drivers []string
	}{
		{"address", s.Address != "", []string{DriverIPMI, DriverRedfish}},
		{"username", s.Username != "", []string{DriverIPMI, DriverRedfish}},
		{"password_file", s.PasswordFile != "", []string{DriverIPMI, DriverRedfish}},
		{"password_env", s.PasswordEnv != "", []string{DriverIPMI, DriverRedfish}},
		{"cipher", s.Cipher != 0, []string{DriverIPMI}},
		{"system", s.System != "", []string{DriverRedfish}},
		{"ca_file", s.CAFile != "", []string{DriverRedfish}},
		{"insecure", s.Insecure, []string{DriverRedfish}},
		{"agent", s.Agent != "", []string{DriverAgent}},
		{"options", len(s.Options) > 0, []string{DriverAgent}},
	}
	for _, k := range keys {
		if !k.set || slices.Contains(k.drivers, s.Driver) {
			continue
		}
		if s.Driver == DriverAgent {
			errs = append(errs, wrong(k.name, "not known to the driver agent: put it under options, with the agent's own name for it"))
		} else {
			errs = append(errs, wrong(k.name, "not known to the driver %s, only to %s", s.Driver, strings.Join(k.drivers, ", ")))
		}
	}
	return errs
}

func (s Spec) validateIPMI() (errs []error) {
	if _, _, err := SplitAddress(s.Address, 623); err != nil {
		errs = append(errs, &SpecError{Key: "address", Words: err.Error(), secret: strings.Contains(s.Address, "@")})
	}
	// RMCP+ limits: 16 bytes of user name (IPMI 2.0, 13.20).
	if len(s.Username) > 16 {
		errs = append(errs, wrong("username", "longer than the 16 characters that IPMI allows"))
	}
	if s.Cipher != 0 && s.Cipher != 3 && s.Cipher != 17 {
		errs = append(errs, wrong("cipher", "%d is not supported: 17, 3, or leave it out to try both", s.Cipher))
	}
	return append(errs, s.validateLogin()...)
}

func (s Spec) validateRedfish() (errs []error) {
	if _, err := RedfishURL(s.Address); err != nil {
		errs = append(errs, &SpecError{Key: "address", Words: err.Error(), secret: strings.Contains(s.Address, "@")})
	}
	if strings.Contains(s.System, "/") && !strings.HasPrefix(s.System, "/redfish/") {
		errs = append(errs, wrong("system", "%q is neither a system's id nor a path below /redfish/", s.System))
	}
	if s.Insecure && s.CAFile != "" {
		errs = append(errs, wrong("insecure", "contradicts ca_file: leave out one of them"))
	}
	return append(errs, s.validateLogin()...)
}

func (s Spec) validateLogin() (errs []error) {
	if s.Username == "" {
		errs = append(errs, wrong("username", "missing"))
	}
	switch {
	case s.PasswordFile == "" && s.PasswordEnv == "":
		errs = append(errs, wrong("password_file", "missing: name a file (password_file) or an environment variable (password_env)"))
	case s.PasswordFile != "" && s.PasswordEnv != "":
		errs = append(errs, wrong("password_env", "password_file is given too: leave out one of them"))
	}
	return errs
}

// SplitAddress reads host, host:port, v6 or [v6]:port.
func SplitAddress(address string, defaultPort int) (host string, port int, err error) {
	if address == "" {
		return "", 0, errors.New("missing")
	}
	if strings.Contains(address, "@") { // not repeated: a password may be in it
		return "", 0, errors.New("holds a login: use username and password_file")
	}
	host, port = address, defaultPort
	// A bare IPv6 address has colons but no port.
	if strings.Contains(address, ":") && net.ParseIP(address) == nil {
		h, p, err := net.SplitHostPort(address)
		if err != nil {
			return "", 0, fmt.Errorf("%q is not host or host:port", address)
		}
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 65535 {
			return "", 0, fmt.Errorf("%q: the port is a number from 1 to 65535", address)
		}
		host, port = h, n
	}
	if host == "" || strings.ContainsAny(host, " \t\n/@?#") {
		return "", 0, fmt.Errorf("%q is not host or host:port", address)
	}
	return host, port, nil
}

// RedfishURL makes the service's base URL of an address: https unless it says
// http itself. A path, a query or a password in it is refused.
func RedfishURL(address string) (*url.URL, error) {
	if address == "" {
		return nil, errors.New("missing")
	}
	text := address
	if !strings.Contains(text, "://") {
		if net.ParseIP(text) != nil && strings.Contains(text, ":") {
			text = "[" + text + "]"
		}
		text = "https://" + text
	}
	u, err := url.Parse(text)
	// The address isn't repeated: a mistaken one may hold a login.
	if err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, errors.New("not a host or an https URL")
	}
	if u.User != nil {
		return nil, errors.New("holds a login: use username and password_file")
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q holds a path: give the service's address, and system for one of several systems", address)
	}
	u.Path = ""
	return u, nil
}
