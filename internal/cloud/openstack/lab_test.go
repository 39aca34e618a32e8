package openstack_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/ninelives-ha/ninelives/internal/cloud/contract"
	"github.com/ninelives-ha/ninelives/internal/cloud/openstack"
)

// lab drives the real OpenStack of test/lab by its one command.
type lab struct {
	t       *testing.T
	command string
	names   map[string]string // of VMs, by id
}

// TestContractOnRealNova runs the contract against the lab. It cuts a host's power there, so it only runs when asked to:
//
//	NINELIVES_LAB_CLOUD=lab OS_CLIENT_CONFIG_FILE=/tmp/ninelives-lab/clouds.yaml go test -run RealNova ./internal/cloud/openstack
//
// NINELIVES_LAB_HOSTS (default compute-05,compute-06) are the hosts it may use, the first is killed.
func TestContractOnRealNova(t *testing.T) {
	name, file := os.Getenv("NINELIVES_LAB_CLOUD"), os.Getenv("OS_CLIENT_CONFIG_FILE")
	if name == "" || file == "" {
		t.Skip("NOT RUN against a real Nova: set NINELIVES_LAB_CLOUD and OS_CLIENT_CONFIG_FILE (test/lab/up makes one)")
	}
	hosts := os.Getenv("NINELIVES_LAB_HOSTS")
	if hosts == "" {
		hosts = "compute-05,compute-06"
	}
	l := &lab{t: t, command: "../../../test/lab/lab", names: map[string]string{}}
	contract.Run(t, contract.Harness{
		Login: loginOf(t, file, name), Hosts: strings.Split(hosts, ","),
		KillHost: func(ctx context.Context, h string) error { _, err := l.do(ctx, "host", h, "off"); return err },
		ReturnHost: func(ctx context.Context, h string) error {
			_, err := l.do(ctx, "host", h, "on", "--no-gate")
			return err
		},
		BootVM: l.boot,
		DeleteVM: func(ctx context.Context, id string) error {
			_, err := l.do(ctx, "vms", "delete", l.names[id])
			return err
		},
	})
}

func (l *lab) do(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, l.command, args...)
	cmd.Stderr = new(strings.Builder)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w: %s%s", strings.Join(args, " "), err, out, cmd.Stderr)
	}
	return out, nil
}

func (l *lab) boot(ctx context.Context, name, host string) (string, error) {
	out, err := l.do(ctx, "vms", "boot", "1", host, "--prefix", name, "--json")
	if err != nil {
		return "", err
	}
	var vms []struct{ ID, Name string }
	if err := json.Unmarshal(out, &vms); err != nil || len(vms) != 1 {
		return "", fmt.Errorf("cannot understand %s: %w", out, err)
	}
	l.names[vms[0].ID] = vms[0].Name
	return vms[0].ID, nil
}

// loginOf reads the login of clouds.yaml as a Login, which the contract varies.
func loginOf(t *testing.T, file, name string) openstack.Login {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Clouds map[string]struct {
			Region string `yaml:"region_name"`
			Auth   struct {
				URL           string `yaml:"auth_url"`
				User          string `yaml:"username"`
				Password      string `yaml:"password"`
				Project       string `yaml:"project_name"`
				UserDomain    string `yaml:"user_domain_name"`
				ProjectDomain string `yaml:"project_domain_name"`
			} `yaml:"auth"`
		} `yaml:"clouds"`
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	c, ok := doc.Clouds[name]
	if !ok {
		t.Fatalf("%s has no cloud %q", file, name)
	}
	return openstack.Login{
		AuthURL: c.Auth.URL, Username: c.Auth.User, Password: c.Auth.Password, ProjectName: c.Auth.Project,
		UserDomainName: c.Auth.UserDomain, ProjectDomainName: c.Auth.ProjectDomain, Region: c.Region,
	}
}
