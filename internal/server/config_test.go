package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/transport/pki"
	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

// FuzzConfig reads server.yaml: whatever is in it, it ends in a configuration whose times can be derived, or in mistakes
// with their lines.
func FuzzConfig(f *testing.F) {
	sample, err := os.ReadFile("../../deploy/server.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	for _, s := range []string{
		"", "name: a\nlisten: {api: ':7400'}\n", "times: {pulse: 1ms}\n", "times: {dead_after: -1s, request_ttl: 9999999h}\n",
		"name: b\ncluster: {initial: {a: 'x:1', b: ''}}\n", "listen: {api: '0.0.0.0:1', agents: '[::]:2', cluster: x}\ntls: {cert: c}\n", "cloud: [1\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := DefaultConfig()
		file, err := yamlfile.Parse("server.yaml", data, &c)
		if err != nil {
			return // the business of yamlfile
		}
		list := c.mistakes(file)
		for _, m := range list {
			if m.Message == "" || m.Line < 0 || m.Line > strings.Count(string(data), "\n")+1 {
				t.Errorf("line %d: %q", m.Line, m.Message)
			}
		}
		if len(list) > 0 {
			return
		}
		times, err := c.times()
		if err != nil || times.Pulse <= 0 || times.Permit <= 0 || times.RequestTTL <= 0 {
			t.Errorf("taken, with the times %+v: %v", times, err)
		}
	})
}

// All wrong times are told at once, each where it stands.
func TestAllWrongTimesAreTold(t *testing.T) {
	c := DefaultConfig()
	file, err := yamlfile.Parse("server.yaml", []byte("name: a\ntimes:\n  pulse: 1ms\n  dead_after: 3s\n  leaving: 1h\n  request_ttl: 1s\n"), &c)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range c.mistakes(file) {
		got = append(got, fmt.Sprintf("%d:%d %s", m.Line, m.Column, strings.SplitN(m.Message, " ", 2)[0]))
	}
	if want := "3:10 pulse:, 4:15 dead_after:, 6:16 request_ttl:"; strings.Join(got, ", ") != want {
		t.Errorf("got %s, want %s", strings.Join(got, ", "), want)
	}
}

// Whatever would keep a server from starting, or the others from reaching it, is told with its line before anything is done.
func TestMistakesOfServerYAML(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, now := range map[string]time.Time{"a": time.Now(), "b": time.Now(), "old": time.Now().AddDate(-30, 0, 0)} {
		if _, err := pki.Init(filepath.Join(dir, name), name, now); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	pem := func(which string) (crt, key string) {
		return filepath.Join(dir, which, "ca.crt"), filepath.Join(dir, which, "ca.key")
	}
	aCrt, aKey := pem("a")
	_, bKey := pem("b")
	oldCrt, oldKey := pem("old")
	junk := write("junk", "nothing")
	three := func(listen, own string) string {
		return "name: server-4\nlisten:\n  cluster: " + listen + "\ncluster:\n  initial:\n    server-1: 127.0.9.1:7402\n    server-2: 127.0.9.2:7402\n    server-4: " + own + "\n"
	}
	etcd := func(more string) string {
		return "name: a\netcd:\n  endpoints:\n    - https://10.0.0.1:2379\n" + more
	}
	for what, c := range map[string]struct {
		text, want string
		ended      string
	}{
		"right":                      {three("127.0.9.4:7402", "127.0.9.4:7402"), "", ""},
		"listens everywhere":         {three("0.0.0.0:7402", "127.0.9.4:7402"), "", ""},
		"listens on all":             {three("':7402'", "127.0.9.4:7402"), "", ""},
		"known by a name":            {three("127.0.9.4:7402", "ctl4:7402"), "", ""},
		"another port":               {three("127.0.9.4:7402", "127.0.9.4:7412"), ":3:12: listen.cluster is 127.0.9.4:7402, but the other servers look for server-4 at 127.0.9.4:7412", ""},
		"another port, by name":      {three("127.0.9.4:7402", "ctl4:7412"), ":3:12: ", ""},
		"another address":            {three("127.0.9.5:7402", "127.0.9.4:7402"), ":3:12: listen.cluster is 127.0.9.5:7402, but", ""},
		"the default":                {"name: a\ncluster: {initial: {a: 10.0.0.1:7402}}\n", ":1:1: listen.cluster is 127.0.0.1:7402, but the other servers look for a at 10.0.0.1:7402", ""},
		"listens on a name":          {three("ctl4:7402", "127.0.9.4:7402"), ":3:12: \"ctl4:7402\" should begin with an IP address", ""},
		"no port to listen on":       {"name: a\nlisten: {agents: '0.0.0.0:740100'}\n", ":2:18: \"0.0.0.0:740100\" is no address: \"740100\" is no port", ""},
		"blank in a listen address":  {"name: a\nlisten: {agents: 'my host:7401'}\n", ":2:18: \"my host:7401\" is no address", ""},
		"no port":                    {three("127.0.9.4:7402", "127.0.9.4"), ":8:15: \"127.0.9.4\" should be HOST:PORT; the other servers are to reach server-4 there (port 7402", ""},
		"port 0":                     {three("127.0.9.4:7402", "127.0.9.4:0"), ":8:15: ", ""},
		"any address":                {three("0.0.0.0:7402", "0.0.0.0:7402"), ":8:15: \"0.0.0.0:7402\" stands for any address", ""},
		"no host name":               {three("127.0.9.4:7402", "'my host:7402'"), ":8:15: ", ""},
		"one address, two servers":   {three("127.0.9.2:7402", "127.0.9.2:7402"), ":8:15: server-2 and server-4 have the same address 127.0.9.2:7402", ""},
		"one address, twice written": {three("127.0.9.2:7402", "'[::ffff:127.0.9.2]:7402'"), ":8:15: server-2 and server-4 have the same address", ""},
		"seven servers":              {"name: a\ncluster: {initial: {a: 'h1:1', b: 'h2:1', c: 'h3:1', d: 'h4:1', e: 'h5:1', f: 'h6:1', g: 'h7:1'}}\nlisten: {cluster: ':1'}\n", ":2:20: 7 servers: ", ""},
		"a name with a blank":        {"data: /var\nname: server 9\n", ":2:7: the name \"server 9\" has the character ' '", ""},
		"another's name":             {"name: a\nlisten: {cluster: '10.0.0.1:1'}\ncluster: {initial: {a: '10.0.0.1:1', 'b 1': '10.0.0.2:1', c: '10.0.0.3:1'}}\n", ":3:45: the name \"b 1\"", ""},
		"a name with a comma":        {"name: a,b\n", ":1:7: the name \"a,b\" may contain neither", ""},
		"no name":                    {"cloud: {name: x}\n", ":1:1: the server needs a name", ""},
		"no data":                    {"name: a\ndata: ''\n", ":2:7: the server needs a data directory", ""},
		"advertised without a port":  {"name: a\nadvertise: ['10.0.0.1:7401', 127.0.9.9]\n", ":2:30: \"127.0.9.9\" should be HOST:PORT; agents are to reach this server there (port 7401", ""},
		"advertised any":             {"name: a\nadvertise: ['0.0.0.0:7401']\n", ":2:13: \"0.0.0.0:7401\" stands for any address", ""},
		"tls":                        {"name: a\ntls: {cert: " + aCrt + ", key: " + aKey + "}\n", "", ""},
		"no such certificate":        {"name: a\ntls:\n  cert: /nope\n  key: " + aKey + "\n", ":3:9: /nope can't be read: no such file or directory", ""},
		"no such key":                {"name: a\ntls:\n  cert: " + aCrt + "\n  key: /nope\n", ":4:8: /nope can't be read: no such file or directory", ""},
		"another's key":              {"name: a\ntls:\n  cert: " + aCrt + "\n  key: " + bKey + "\n", ":3:9: " + aCrt + " and " + bKey + " can't be used together: tls: private key", ""},
		"no certificate in it":       {"name: a\ntls:\n  cert: " + junk + "\n  key: " + aKey + "\n", ":3:9: ", ""},
		"a certificate alone":        {"name: a\ntls:\n  cert: " + aCrt + "\n", ":2:1: tls.cert is given, but not tls.key", ""},
		"a key alone":                {"name: a\ntls:\n  key: " + aKey + "\n", ":2:1: tls.key is given, but not tls.cert", ""},
		"ended":                      {"name: a\ntls:\n  cert: " + oldCrt + "\n  key: " + oldKey + "\n", "", ":3:9: the certificate in " + oldCrt + " ended 20"},
		"etcd":                       {etcd("  tls: {ca: " + aCrt + ", cert: " + aCrt + ", key: " + aKey + "}\n"), "", ""},
		"etcd without a port":        {etcd("    - https://10.0.0.2\n"), ":5:7: \"https://10.0.0.2\" should be https://HOST:PORT", ""},
		"etcd's CA isn't there":      {etcd("  tls:\n    ca: /nope\n"), ":6:9: /nope can't be read", ""},
		"etcd's CA is none":          {etcd("  tls:\n    ca: " + junk + "\n"), ":6:9: " + junk + " holds no certificate", ""},
		"etcd's CA has ended":        {etcd("  tls:\n    ca: " + oldCrt + "\n"), "", ":6:9: the certificate in "},
		"etcd's key is another's":    {etcd("  tls:\n    cert: " + aCrt + "\n    key: " + bKey + "\n"), ":6:11: " + aCrt + " and " + bKey, ""},
		"etcd's tls alone":           {"name: a\netcd: {tls: {ca: /nope}}\n", ":2:7: no endpoint of your etcd is named", ""},
	} {
		t.Run(what, func(t *testing.T) {
			file := write(strings.ReplaceAll(what, " ", "-")+".yaml", c.text)
			got, err := LoadConfig(file)
			said := yamlfile.List(err)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%s\nit is right, but: %v", c.text, err)
			case c.want != "" && (len(said) != 1 || !strings.HasPrefix(err.Error(), file+c.want) || said[0].Snippet == ""):
				t.Errorf("%s\nerror is %v\nexpected …%s… alone, with the place", c.text, err, c.want)
			}
			if ended := fmt.Sprint(got.Ended.Err()); c.ended == "" && len(got.Ended) > 0 || c.ended != "" && !strings.HasPrefix(ended, file+c.ended) {
				t.Errorf("%s\nended: %v, expected %q", c.text, ended, c.ended)
			}
		})
	}
}
