package openstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"

	"github.com/ninelives-ha/ninelives/internal/cloud"
)

// session is what one login gave. It is never changed; the token renews itself behind provider and tokens.
type session struct {
	provider *gophercloud.ProviderClient
	tokens   *tokenAge
	caps     cloud.Capabilities
}

// nova returns a service client of its own for one microversion: gophercloud keeps it as a field of the client, so a
// shared one would change under other calls.
func (s *session) nova(mv cloud.Microversion) *gophercloud.ServiceClient {
	return &gophercloud.ServiceClient{ProviderClient: s.provider, Endpoint: s.caps.Endpoints["compute"], Type: "compute", Microversion: mv.String()}
}

// other returns a service client for placement or image, or says that the catalogue has none.
func (s *session) other(service string) (*gophercloud.ServiceClient, error) {
	url := s.caps.Endpoints[service]
	if url == "" {
		return nil, fmt.Errorf("%w: the catalogue has no %s endpoint (interface %s, region %s)", cloud.ErrUnavailable, service, s.caps.Interface, s.caps.Region)
	}
	return &gophercloud.ServiceClient{ProviderClient: s.provider, Endpoint: url, Type: service}, nil
}

// logIn asks Keystone for a token, finds the endpoints and Nova's range of microversions.
func (c *Client) logIn(ctx context.Context) (*session, error) {
	auth := c.cred.auth
	auth.AllowReauth = true
	p, err := openstack.NewClient(auth.IdentityEndpoint)
	if err != nil {
		return nil, fmt.Errorf("%w: the auth URL %q: %w", cloud.ErrUnavailable, auth.IdentityEndpoint, err)
	}
	p.HTTPClient = *c.reads
	p.UserAgent.Prepend(c.userAgent())
	p.MaxBackoffRetries = maxWaits
	p.RetryBackoffFunc = c.waitAsAsked
	if err := openstack.Authenticate(ctx, p, auth); err != nil {
		return nil, c.loginError(err)
	}
	s := &session{provider: p, tokens: &tokenAge{}}
	s.tokens.note(p)
	renew := p.ReauthFunc
	p.ReauthFunc = func(ctx context.Context) error {
		err := renew(ctx)
		if err == nil {
			s.tokens.note(p)
			c.o.Logger.Debug("token renewed")
		}
		return err
	}
	if err := c.identify(s); err != nil {
		return nil, err
	}
	if s.caps.Min, s.caps.Max, err = c.discover(ctx, s); err != nil {
		return nil, err
	}
	return s, nil
}

// identify fills in who we are and where the services are, from the login's answer alone.
func (c *Client) identify(s *session) error {
	var t struct {
		tokens.ServiceCatalog
		User    tokens.User    `json:"user"`
		Project tokens.Project `json:"project"`
		Roles   []tokens.Role  `json:"roles"`
	}
	res, ok := s.provider.GetAuthResult().(tokens.CreateResult)
	if !ok {
		return fmt.Errorf("%w: %s is not a Keystone v3", cloud.ErrUnavailable, c.cred.login.AuthURL)
	}
	if err := res.ExtractInto(&t); err != nil {
		return fmt.Errorf("%w: cannot understand Keystone's answer: %w", cloud.ErrUnavailable, err)
	}
	face := or(c.cred.login.endpointInterface(), "public")
	s.caps = cloud.Capabilities{
		Region: c.cred.login.Region, Interface: face, Endpoints: map[string]string{"identity": c.cred.login.AuthURL},
		UserID: t.User.ID, User: t.User.Name, ProjectID: t.Project.ID, Project: t.Project.Name,
	}
	for _, r := range t.Roles {
		s.caps.Roles = append(s.caps.Roles, r.Name)
	}
	for _, service := range []string{"compute", "placement", "image", "instance-ha"} { // the last: another HA service, for doctor
		// Not by EndpointLocator: that asks the endpoint, without a deadline.
		eo := gophercloud.EndpointOpts{Region: s.caps.Region, Availability: gophercloud.Availability(face)}
		eo.ApplyDefaults(service)
		//lint:ignore SA1019 its successor asks the endpoint for its versions, without a deadline
		url, err := openstack.V3EndpointURL(&t.ServiceCatalog, eo)
		if missing := (*gophercloud.ErrEndpointNotFound)(nil); errors.As(err, &missing) {
			continue
		} else if err != nil {
			return fmt.Errorf("%w: cannot read the catalogue: %w", cloud.ErrUnavailable, err)
		}
		s.caps.Endpoints[service] = url
	}
	if s.caps.Endpoints["compute"] == "" {
		return fmt.Errorf("%w: no compute endpoint (interface %s) in region %q; the catalogue has: %s", cloud.ErrUnavailable, face, s.caps.Region, offered(t.ServiceCatalog))
	}
	return nil
}

// offered lists the compute endpoints there are, for an operator who named a wrong region or interface.
func offered(catalog tokens.ServiceCatalog) string {
	var found []string
	for _, e := range catalog.Entries {
		if e.Type != "compute" {
			continue
		}
		for _, p := range e.Endpoints {
			found = append(found, fmt.Sprintf("%s in region %s", p.Interface, or(p.RegionID, p.Region)))
		}
	}
	if len(found) == 0 {
		return "no compute service at all"
	}
	slices.Sort(found)
	return strings.Join(found, ", ")
}

// loginError says in an operator's words why Keystone didn't let us in.
func (c *Client) loginError(err error) error { return &cloud.LoginError{Err: c.whyNoLogin(err)} }

func (c *Client) whyNoLogin(err error) error {
	l := c.cred.login
	var code gophercloud.ErrUnexpectedResponseCode
	switch {
	case errors.As(err, &code) && code.Actual == http.StatusUnauthorized:
		return fmt.Errorf("%w: Keystone at %s doesn't accept %s: check name, password, project and domains in %s", cloud.ErrUnauthorized, l.AuthURL, l.who(), c.cred.source)
	case errors.As(err, &code) && code.Actual == http.StatusNotFound:
		return fmt.Errorf("%w: %s answers, but not as Keystone (404): the auth URL usually ends in /v3", cloud.ErrUnavailable, l.AuthURL)
	case errors.As(err, &code):
		return fmt.Errorf("%w: Keystone at %s answered %d: %s", cloud.ErrUnavailable, l.AuthURL, code.Actual, novaMessage(code.Body))
	}
	return fmt.Errorf("%w: cannot log in to Keystone at %s: %w", cloud.ErrUnavailable, l.AuthURL, err)
}

// tokenAge knows how long the present token may still be used, by our own clock from when it came: Keystone's may differ.
type tokenAge struct {
	mu    sync.Mutex
	id    string
	until time.Time
}

// note takes down the token that just came. One that doesn't say how long it lives is trusted until a 401.
func (a *tokenAge) note(p *gophercloud.ProviderClient) {
	var t struct {
		IssuedAt  time.Time `json:"issued_at"`
		ExpiresAt time.Time `json:"expires_at"`
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.id, a.until = p.Token(), time.Time{}
	if res, ok := p.GetAuthResult().(tokens.CreateResult); ok && res.ExtractInto(&t) == nil && t.ExpiresAt.After(t.IssuedAt) {
		life := t.ExpiresAt.Sub(t.IssuedAt)
		a.until = time.Now().Add(life - min(2*time.Minute, life/4))
	}
}

// distrust makes the next write get a new token first: a service refused this one.
func (a *tokenAge) distrust(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.id == id {
		a.until = time.Unix(0, 0)
	}
}

func (a *tokenAge) good(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.id == id && (a.until.IsZero() || time.Now().Before(a.until))
}

// token returns one that will not expire under a write: gophercloud renews only after a 401, which for a write means a
// second sending.
func (c *Client) token(ctx context.Context, s *session) (string, error) {
	t := s.provider.Token()
	if s.tokens.good(t) {
		return t, nil
	}
	if err := s.provider.Reauthenticate(ctx, t); err != nil {
		return "", c.loginError(err)
	}
	return s.provider.Token(), nil
}
