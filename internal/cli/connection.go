package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api/client"
)

const (
	defaultServer    = "http://127.0.0.1:7400"
	defaultTokenFile = "/var/lib/ninelives/admin.token"
	defaultTimeout   = 30 * time.Second
)

// connection is how the API is reached: the flags every client command has.
type connection struct {
	server, tokenFile, caFile, output string
	timeout                           time.Duration

	serverFrom, tokenFrom string // where they came from, for errors; "" is the default, or none
}

// client gives commands the flags of a client, and their help a place to stand.
func (a *app) client(cmd *cobra.Command) *cobra.Command {
	f := cmd.PersistentFlags()
	f.StringVar(&a.conn.server, "server", "", "URL of a server's API, or several with commas between: the leader among them is found (or NINELIVES_SERVER; default "+defaultServer+")")
	f.StringVar(&a.conn.tokenFile, "token-file", "", "file with the admin token (or NINELIVES_TOKEN with the token itself; default "+defaultTokenFile+")")
	f.StringVar(&a.conn.caFile, "ca-file", "", "PEM file of the CA that signed the API's certificate (or NINELIVES_CA_FILE; default: the system's CAs)")
	f.StringVarP(&a.conn.output, "output", "o", formatTable, "table for people; json or yaml for programs")
	f.DurationVar(&a.conn.timeout, "timeout", defaultTimeout, "how long one request may take")
	for flag, values := range map[string][]string{"output": {formatTable, formatJSON, formatYAML}} {
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // a flag that was just made
		}
	}
	return cmd
}

// dial makes the API's client from flags, environment and defaults, in this order.
func (a *app) dial(cmd *cobra.Command) (*client.Client, error) {
	if err := a.checkFlags(cmd); err != nil {
		return nil, err
	}
	c := &a.conn
	switch env := a.env.Getenv("NINELIVES_SERVER"); {
	case c.server != "":
		c.serverFrom = "--server"
	case env != "":
		c.server, c.serverFrom = env, "NINELIVES_SERVER"
	default:
		c.server = defaultServer
	}
	token, err := a.token()
	if err != nil {
		return nil, err
	}
	transport, err := a.transport()
	if err != nil {
		return nil, err
	}
	api, err := client.New(c.server, token, transport)
	if err != nil {
		return nil, usage(cmd, "%v", err)
	}
	return api, nil
}

func (a *app) checkFlags(cmd *cobra.Command) error {
	switch a.conn.output {
	case formatTable, formatJSON, formatYAML:
	default:
		return usage(cmd, "--output is %q; it can be table, json or yaml", a.conn.output)
	}
	if a.conn.timeout <= 0 {
		return usage(cmd, "--timeout is %s; it must be more than nothing, for example 30s", a.conn.timeout)
	}
	return nil
}

// token finds the admin token. Without one the server is asked all the same: its answer says more than a guess here.
func (a *app) token() (string, error) {
	c := &a.conn
	if env := a.env.Getenv("NINELIVES_TOKEN"); c.tokenFile == "" && env != "" {
		c.tokenFrom = "NINELIVES_TOKEN"
		return strings.TrimSpace(env), nil
	}
	file := c.tokenFile
	if file == "" {
		file = defaultTokenFile
	}
	text, err := os.ReadFile(file)
	switch {
	case err == nil:
		c.tokenFrom = file
		return strings.TrimSpace(string(text)), nil
	case c.tokenFile == "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)):
		return "", nil
	default:
		return "", fmt.Errorf("cannot read the token: %w", err)
	}
}

func (a *app) transport() (http.RoundTripper, error) {
	file := a.conn.caFile
	if file == "" {
		file = a.env.Getenv("NINELIVES_CA_FILE")
	}
	if a.env.Transport != nil || file == "" {
		return a.env.Transport, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the API's CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", file)
	}
	return &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}, nil
}

// ask makes one request within --timeout, and says after two seconds that it still waits.
func ask[T any](a *app, cmd *cobra.Command, request func(context.Context, *client.Client) (T, error)) (T, error) {
	c, err := a.dial(cmd)
	if err != nil {
		var none T
		return none, err
	}
	return within(a, cmd, func(ctx context.Context) (T, error) { return request(ctx, c) })
}

// within is ask for a client that is there already.
func within[T any](a *app, cmd *cobra.Command, request func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), a.conn.timeout)
	defer cancel()
	done := a.waiting(a.conn.server)
	defer done()
	return request(ctx)
}
