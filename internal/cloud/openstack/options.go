package openstack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

// Options says which cloud, as whom, and how patiently.
type Options struct {
	// Cloud is a name in clouds.yaml; empty: OS_CLOUD, and if that is empty too, OS_AUTH_URL and its sisters.
	Cloud string
	// ConfigFile is the clouds.yaml to read; empty: OS_CLIENT_CONFIG_FILE, ./clouds.yaml, ~/.config/openstack/clouds.yaml,
	// /etc/openstack/clouds.yaml, the first that exists.
	ConfigFile string
	// Login, if set, is used instead of clouds.yaml and environment.
	Login *Login
	// Version is ours, for the User-Agent.
	Version string
	// ReadTimeout bounds each request of a read (a listing's page gets three times as long). Default 10 s.
	ReadTimeout time.Duration
	// WriteTimeout bounds a dangerous write from its beginning to its answer. Default 60 s.
	WriteTimeout time.Duration
	// Dial replaces the network, for tests and simulations.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger tells of re-authentication and of reads that were asked to wait. Default: silent.
	Logger *slog.Logger
}

// Login is where to log in and as whom.
type Login struct {
	AuthURL                                   string // Keystone, "https://keystone:5000/v3"
	Username, UserID, Password                string
	UserDomainName, UserDomainID              string // both empty: "Default"
	ProjectName, ProjectID                    string
	ProjectDomainName, ProjectDomainID        string // both empty: the user's
	SystemScope                               bool   // a token for the whole system instead of a project
	ApplicationCredentialID                   string
	ApplicationCredentialName                 string
	ApplicationCredentialSecret               string
	Region                                    string // empty: the first in the catalogue
	Interface                                 string // public (default), internal, admin
	CACertFile, ClientCertFile, ClientKeyFile string
	Insecure                                  bool // don't verify certificates
}

// String hides the secrets.
func (l Login) String() string {
	return fmt.Sprintf("%s at %s, password ***", l.who(), l.AuthURL)
}

// GoString hides the secrets from %#v too.
func (l Login) GoString() string { return l.String() }

// LogValue hides the secrets from slog.
func (l Login) LogValue() slog.Value { return slog.StringValue(l.String()) }

func (l Login) who() string {
	for _, w := range [][2]string{{"user ", l.Username}, {"user ", l.UserID}, {"application credential ", l.ApplicationCredentialName}, {"application credential ", l.ApplicationCredentialID}} {
		if w[1] != "" {
			return w[0] + w[1]
		}
	}
	return "nobody"
}

// loginFromEnv reads the OS_* variables as openstackclient's openrc sets them. (gophercloud's own reader ignores
// OS_USER_DOMAIN_NAME and OS_PROJECT_DOMAIN_NAME, which every openrc of today has.)
func loginFromEnv(getenv func(string) string) (Login, error) {
	l := Login{
		AuthURL: getenv("OS_AUTH_URL"), Username: getenv("OS_USERNAME"), UserID: getenv("OS_USER_ID"), Password: getenv("OS_PASSWORD"),
		UserDomainName: getenv("OS_USER_DOMAIN_NAME"), UserDomainID: getenv("OS_USER_DOMAIN_ID"),
		ProjectName: getenv("OS_PROJECT_NAME"), ProjectID: getenv("OS_PROJECT_ID"),
		ProjectDomainName: getenv("OS_PROJECT_DOMAIN_NAME"), ProjectDomainID: getenv("OS_PROJECT_DOMAIN_ID"),
		SystemScope:             getenv("OS_SYSTEM_SCOPE") == "all",
		ApplicationCredentialID: getenv("OS_APPLICATION_CREDENTIAL_ID"), ApplicationCredentialName: getenv("OS_APPLICATION_CREDENTIAL_NAME"),
		ApplicationCredentialSecret: getenv("OS_APPLICATION_CREDENTIAL_SECRET"),
		Region:                      getenv("OS_REGION_NAME"), Interface: getenv("OS_INTERFACE"),
		CACertFile: getenv("OS_CACERT"), ClientCertFile: getenv("OS_CERT"), ClientKeyFile: getenv("OS_KEY"),
	}
	if v := getenv("OS_INSECURE"); v != "" {
		var err error
		if l.Insecure, err = strconv.ParseBool(v); err != nil {
			return Login{}, fmt.Errorf("OS_INSECURE is %q: want true or false", v)
		}
	}
	return l, nil
}

// check finds what is missing before anything is asked.
func (l Login) check() error {
	switch {
	case l.AuthURL == "":
		return errors.New("no cloud is named: set cloud.name in server.yaml (or OS_CLOUD) to a name in clouds.yaml, or OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and OS_PROJECT_NAME")
	case !strings.HasPrefix(l.AuthURL, "http://") && !strings.HasPrefix(l.AuthURL, "https://"):
		return fmt.Errorf("the auth URL %q must begin with http:// or https://", l.AuthURL)
	case l.who() == "nobody":
		return fmt.Errorf("no user for %s: set OS_USERNAME, or username in clouds.yaml", l.AuthURL)
	case l.Password == "" && l.ApplicationCredentialSecret == "":
		return fmt.Errorf("no password for %s at %s: set OS_PASSWORD, or password in clouds.yaml", l.who(), l.AuthURL)
	case !slices.Contains([]string{"", "public", "internal", "admin"}, l.endpointInterface()):
		return fmt.Errorf("the interface %q is none of public, internal, admin", l.Interface)
	}
	return nil
}

// endpointInterface drops the ending that old configurations carry ("internalURL").
func (l Login) endpointInterface() string { return strings.TrimSuffix(l.Interface, "URL") }

func (l Login) auth() gophercloud.AuthOptions {
	ao := gophercloud.AuthOptions{
		IdentityEndpoint: l.AuthURL, Username: l.Username, UserID: l.UserID, Password: l.Password,
		ApplicationCredentialID: l.ApplicationCredentialID, ApplicationCredentialName: l.ApplicationCredentialName,
		ApplicationCredentialSecret: l.ApplicationCredentialSecret,
	}
	if l.UserID == "" && l.Username != "" {
		if ao.DomainID = l.UserDomainID; ao.DomainID == "" {
			ao.DomainName = or(l.UserDomainName, "Default")
		}
	}
	switch {
	case l.ApplicationCredentialSecret != "": // its project is built in
	case l.SystemScope:
		ao.Scope = &gophercloud.AuthScope{System: true}
	case l.ProjectID != "":
		ao.Scope = &gophercloud.AuthScope{ProjectID: l.ProjectID}
	case l.ProjectName != "":
		ao.Scope = &gophercloud.AuthScope{ProjectName: l.ProjectName}
		if ao.Scope.DomainID = or(l.ProjectDomainID, l.UserDomainID); l.ProjectDomainName != "" || ao.Scope.DomainID == "" {
			ao.Scope.DomainID, ao.Scope.DomainName = "", or(l.ProjectDomainName, l.UserDomainName, "Default")
		}
		if l.ProjectDomainID != "" {
			ao.Scope.DomainID, ao.Scope.DomainName = l.ProjectDomainID, ""
		}
	}
	return ao
}

func (l Login) tls() (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: l.Insecure} //nolint:gosec // the operator's own choice
	if l.CACertFile != "" {
		pem, err := os.ReadFile(l.CACertFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read the cloud's CA certificate: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("the cloud's CA certificate file %s holds no PEM certificate", l.CACertFile)
		}
	}
	if l.ClientCertFile != "" {
		pair, err := tls.LoadX509KeyPair(l.ClientCertFile, l.ClientKeyFile)
		if err != nil {
			return nil, fmt.Errorf("cannot read the client certificate for the cloud: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

func or(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
