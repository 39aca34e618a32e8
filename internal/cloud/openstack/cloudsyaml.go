package openstack

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"go.yaml.in/yaml/v4"
)

// credentials is what both sources come down to.
type credentials struct {
	auth   gophercloud.AuthOptions
	login  Login // for messages, region and interface
	tls    *tls.Config
	source string
}

// resolve finds the credentials: Options.Login, then clouds.yaml, then the environment. Nothing is asked of the network.
func (o Options) resolve() (credentials, error) {
	if o.Login != nil {
		return fromLogin(*o.Login, "the given login")
	}
	name := or(o.Cloud, os.Getenv("OS_CLOUD"))
	if name == "" {
		l, err := loginFromEnv(os.Getenv)
		if err != nil {
			return credentials{}, err
		}
		return fromLogin(l, "the environment (OS_*)")
	}
	file, err := cloudsFile(o.ConfigFile)
	if err != nil {
		return credentials{}, fmt.Errorf("cannot find cloud %q: %w", name, err)
	}
	if err := nameKnown(file, name); err != nil {
		return credentials{}, err
	}
	return fromFile(file, name)
}

func fromLogin(l Login, source string) (credentials, error) {
	if err := l.check(); err != nil {
		return credentials{}, err
	}
	t, err := l.tls()
	if err != nil {
		return credentials{}, err
	}
	return credentials{auth: l.auth(), login: l, tls: t, source: source}, nil
}

func fromFile(file, name string) (credentials, error) {
	// Parse also merges secure.yaml from beside the file.
	auth, eo, t, err := clouds.Parse(clouds.WithCloudName(name), clouds.WithLocations(file))
	if err != nil {
		return credentials{}, fmt.Errorf("cannot read cloud %q of %s: %w", name, file, err)
	}
	l := Login{
		AuthURL: auth.IdentityEndpoint, Username: auth.Username, UserID: auth.UserID, Password: auth.Password,
		ApplicationCredentialID: auth.ApplicationCredentialID, ApplicationCredentialName: auth.ApplicationCredentialName,
		ApplicationCredentialSecret: auth.ApplicationCredentialSecret,
		Region:                      eo.Region, Interface: string(eo.Availability),
	}
	if err := l.check(); err != nil {
		return credentials{}, fmt.Errorf("cloud %q of %s: %w", name, file, err)
	}
	if t == nil {
		t = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return credentials{auth: auth, login: l, tls: t, source: fmt.Sprintf("cloud %q of %s", name, file)}, nil
}

// cloudsFile returns the first clouds.yaml that exists.
func cloudsFile(given string) (string, error) {
	places := []string{given}
	if given == "" {
		places = []string{os.Getenv("OS_CLIENT_CONFIG_FILE")}
	}
	if places[0] == "" {
		config, err := os.UserConfigDir()
		places = []string{"clouds.yaml"}
		if err == nil { // without a home directory that place doesn't exist
			places = append(places, filepath.Join(config, "openstack", "clouds.yaml"))
		}
		places = append(places, "/etc/openstack/clouds.yaml")
	}
	for _, p := range places {
		switch _, err := os.Stat(p); {
		case err == nil:
			return p, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
	}
	return "", fmt.Errorf("no clouds.yaml at %s", strings.Join(places, ", "))
}

// nameKnown says which clouds there are if ours isn't among them.
func nameKnown(file, name string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot read clouds.yaml: %w", err)
	}
	var doc struct {
		Clouds map[string]any `yaml:"clouds"`
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return fmt.Errorf("cannot read %s: %w", file, err)
	}
	if _, ok := doc.Clouds[name]; ok {
		return nil
	}
	if len(doc.Clouds) == 0 {
		return fmt.Errorf("%s has no cloud %q: it has none at all under \"clouds:\"", file, name)
	}
	return fmt.Errorf("%s has no cloud %q; it has: %s", file, name, strings.Join(slices.Sorted(maps.Keys(doc.Clouds)), ", "))
}
