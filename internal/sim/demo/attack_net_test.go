//go:build attack

package demo

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ninelives-ha/ninelives/internal/store/etcdtest"
)

// network is what lies between the servers: one line for each direction in which one of them calls another. Each
// server's calls go to a proxy of its own, which knows who calls; etcd takes that from the environment.
type network struct {
	names   []string
	lines   map[[2]string]*etcdtest.Line
	proxies map[string]string // URLs
}

// newNetwork lies between servers that call each other by one address and listen at another.
func newNetwork(t *testing.T, listens, called map[string]string) *network {
	t.Helper()
	n := &network{lines: map[[2]string]*etcdtest.Line{}, proxies: map[string]string{}}
	for from := range listens {
		n.names = append(n.names, from)
		ways := map[string]*etcdtest.Line{}
		for to, at := range listens {
			if to != from {
				l := etcdtest.NewLine(t, at)
				n.lines[[2]string{from, to}], ways[called[to]] = l, l
			}
		}
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { relay(w, r, ways[r.Host]) }))
		t.Cleanup(proxy.Close)
		n.proxies[from] = proxy.URL
	}
	return n
}

// relay is CONNECT.
func relay(w http.ResponseWriter, r *http.Request, l *etcdtest.Line) {
	if r.Method != http.MethodConnect || l == nil {
		http.Error(w, "no way to "+r.Host, http.StatusBadGateway)
		return
	}
	far, err := net.Dial("tcp", l.Address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = far.Close() }()
	near, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = near.Close() }()
	if _, err := io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(far, near)
		_ = far.Close()
	}()
	_, _ = io.Copy(near, far)
}

// cut cuts two servers from each other; oneWay: only the first one's calls.
func (n *network) cut(a, b string, oneWay bool) {
	n.lines[[2]string{a, b}].Cut()
	if !oneWay {
		n.lines[[2]string{b, a}].Cut()
	}
}

// isolate cuts one from all others.
func (n *network) isolate(name string) {
	for _, other := range n.names {
		if other != name {
			n.cut(name, other, false)
		}
	}
}

func (n *network) heal() {
	for _, l := range n.lines {
		l.Mend()
	}
}

func (n *network) environment(name string) []string {
	if n == nil {
		return nil
	}
	return []string{"HTTPS_PROXY=" + n.proxies[name], "NO_PROXY=" + strings.Join([]string{"127.0.0.1", "localhost"}, ",")}
}
