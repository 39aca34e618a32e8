package house

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

var update = flag.Bool("update", false, "write the pages that are made from code anew")

// pages are those that are written by the code: path -> its text now.
func pages(t *testing.T) map[string][]byte {
	t.Helper()
	description, err := openAPI(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"docs/failures.md": failures(engine.Modes()), "docs/openapi.yaml": description}
}

func TestPages(t *testing.T) {
	if *update {
		for file, text := range pages(t) {
			at := filepath.Join(root, file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, text, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, v := range stale(os.DirFS(root), pages(t), "run `make generate`") {
		t.Error(v)
	}
}

// openAPI asks the API for its own description, as any client would.
func openAPI(ctx context.Context) (text []byte, err error) {
	const token = "only for this description"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s, err := api.New(api.Options{Backend: struct{ api.Backend }{}, Token: token, Listener: l})
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.Start()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	defer func() { err = errors.Join(err, s.Stop(ctx)) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr().String()+"/openapi.yaml", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the API answers %s", resp.Status)
	}
	return io.ReadAll(resp.Body)
}

const failuresHead = `# What Ninelives can see, and what it does about it

<!-- Made from the table in internal/engine/failures.go by "make generate": change it there. -->

Each incident carries one of these codes (` + "`ninelives incident show ID`" + `, ` + "`mode`" + ` in the API). Worst first. What to do when one waits for you is in [operations.md](operations.md).

`

// failures is the operators' page of the failure modes.
func failures(modes []engine.Mode) []byte {
	var b strings.Builder
	b.WriteString(failuresHead)
	b.WriteString("| code | failure | verdict | severity |\n|---|---|---|---|\n")
	for _, m := range modes {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | `%s` | %s |\n", m.Code, strings.ToLower(m.Code), m.Title, m.Verdict, m.Severity)
	}
	titles := map[string]string{}
	for _, m := range modes {
		titles[m.Code] = m.Title
	}
	for _, m := range modes {
		fmt.Fprintf(&b, "\n## %s\n\n**%s** (verdict `%s`, %s)\n\n- Seen: %s.\n- Done: %s.\n", m.Code, m.Title, m.Verdict, m.Severity, m.Seen, m.Done)
		for i, code := range m.Hides {
			fmt.Fprintf(&b, "%s%s (%s)", []string{"- While this is so, these follow from it and get no incident of their own: ", ", "}[min(i, 1)], code, cmp.Or(titles[code], "unknown"))
		}
		if len(m.Hides) > 0 {
			b.WriteString(".\n")
		}
	}
	return []byte(b.String())
}

// A mode's page is only as good as its table: no empty cell, no two rows with one code, no consequence that isn't there.
func TestFailureModesAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range engine.Modes() {
		if m.Code == "" || m.Verdict == "" || m.Title == "" || m.Seen == "" || m.Done == "" {
			t.Errorf("%+v has an empty cell", m)
		}
		if seen[m.Code] {
			t.Errorf("%s stands there twice", m.Code)
		}
		seen[m.Code] = true
	}
	for _, m := range engine.Modes() {
		for _, code := range m.Hides {
			if !seen[code] {
				t.Errorf("%s hides %s, which there is not", m.Code, code)
			}
		}
	}
}

// People on call look an interlock's code up: each one is in their table.
func TestInterlocksAreExplained(t *testing.T) {
	code, err := os.ReadFile(filepath.Join(root, "internal/engine/interlock.go"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n## Interlocks")
	table, _, _ = strings.Cut(table, "\n## ")
	found := regexp.MustCompile(`\tLock\w+ += "([a-z-]+)"`).FindAllStringSubmatch(string(code), -1)
	if len(found) < 20 {
		t.Errorf("only %d codes were found", len(found))
	}
	for _, m := range found {
		if !strings.Contains(table, "`"+m[1]+"`") {
			t.Errorf("docs/operations.md does not explain the interlock %s", m[1])
		}
	}
}
