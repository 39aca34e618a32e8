package yamlfile_test

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

// oneOrMore is a custom type as packages write them: a name or a list of names.
type oneOrMore []string

func (o *oneOrMore) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*o = oneOrMore{n.Value}
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return yamlfile.At(n, "expected a name or a list of names")
	}
	for _, c := range n.Content {
		*o = append(*o, c.Value)
	}
	return nil
}

type common struct {
	Name string
}

type config struct {
	common `yaml:",inline"`
	Listen struct {
		API    netip.AddrPort
		Agents string
	}
	Wait   time.Duration
	Keep   yamlfile.Duration
	Limit  int
	Size   uint16
	Share  float64
	Strict bool
	Tags   oneOrMore
	Hosts  map[string]struct {
		Levels [][]struct {
			Address      string
			Password     *string
			PasswordFile string `yaml:"password_file"`
		}
	}
	Hidden string `yaml:"-"`
}

// Each testdata/*.yaml holds mistakes; its *.golden is what the operator sees.
func TestErrorsAreReportedWithPlaceAndHint(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var c config
			err = yamlfile.Decode("server.yaml", data, &c)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, e := range yamlfile.List(err) {
				if e.Path != "server.yaml" || e.Message == "" {
					t.Errorf("incomplete: %+v", e)
				}
			}
			if diff := cmp.Diff(config{}, c, cmp.AllowUnexported(config{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("a refused file changed the target:\n%s", diff)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got, rewrite with -update):\n%s", diff)
			}
		})
	}
}

const good = `
name: server-1
listen: {api: "127.0.0.1:7400"}
wait: 12s
keep: 90d
limit: 7
size: 65535
share: 0.3
strict: true
tags: pets
hosts:
  compute-01.example.org: &bmc
    levels:
      - - {address: "10.9.0.11:623", password_file: /etc/bmc.pass}
  compute-02: *bmc
`

func TestGoodFile(t *testing.T) {
	c := config{Limit: 3}
	c.Listen.Agents = "0.0.0.0:7401"
	f, err := yamlfile.Parse("server.yaml", []byte(good), &c)
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "server-1" || c.Listen.API.Port() != 7400 || c.Wait != 12*time.Second || c.Keep.Std() != 90*24*time.Hour ||
		c.Limit != 7 || c.Size != 65535 || c.Share != 0.3 || !c.Strict || c.Tags[0] != "pets" {
		t.Errorf("got %+v", c)
	}
	if c.Listen.Agents != "0.0.0.0:7401" {
		t.Errorf("a default that the file doesn't mention was lost: %+v", c.Listen)
	}
	if got := c.Hosts["compute-02"].Levels[0][0].PasswordFile; got != "/etc/bmc.pass" {
		t.Errorf("alias: got %q", got)
	}
	for _, at := range []struct {
		key          string
		line, column int
	}{
		{"name", 2, 7},
		{"listen.api", 3, 15},
		{"listen.agents", 3, 9}, // not there: what is around it
		{`hosts["compute-01.example.org"].levels[0][0].address`, 14, 21},
		{`hosts["compute-01.example.org"].levels`, 13, 5},
		{"hosts.compute-02.levels[0][0].password_file", 14, 53},
		{"hosts.compute-02.levels[0][9]", 14, 9},
		{"hosts[", 11, 1},
		{"nothing.at.all", 2, 1},
	} {
		if line, column := f.Pos(at.key); line != at.line || column != at.column {
			t.Errorf("Pos(%s) = %d:%d, want %d:%d", at.key, line, column, at.line, at.column)
		}
	}
	want := "server.yaml:6:8: below 8, the floor\n    limit: 7\n           ^"
	if got := f.Errorf("limit", "below %d, the floor", 8).Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestBombsAreBounded(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for _, i := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"} {
		prev := string(i[0] - 1)
		bomb.WriteString("a" + i + ": &a" + i + " [" + strings.Repeat("*a"+prev+",", 9) + "*a" + prev + "]\n")
	}
	for name, tc := range map[string]struct{ data, want string }{
		"alias bomb": {bomb.String(), "when every * is followed"},
		"unclosed":   {strings.Repeat("[", 5000), "is not YAML"},
		"deep":       {"a: " + strings.Repeat("[", 200) + strings.Repeat("]", 200), "nested more than 100 levels deep"},
		"huge":       {"a: " + strings.Repeat("x", yamlfile.MaxSize), "larger than 16 MiB"},
		"cycle":      {"hosts: &h {a: *h}\n", "*h contains itself"},
	} {
		start := time.Now()
		var c config
		err := yamlfile.Decode("x.yaml", []byte(tc.data), &c)
		var one *yamlfile.Error
		if !errors.As(err, &one) || !strings.Contains(one.Message, tc.want) {
			t.Errorf("%s: got %v", name, err)
		} else if len(one.Error()) > 1000 {
			t.Errorf("%s: a message of %d bytes", name, len(one.Error()))
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "none.yaml")
	err := yamlfile.Load(missing, &config{})
	if want := missing + ": cannot be opened: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := yamlfile.Load(dir, &config{}); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("got %v", err)
	}
	file := filepath.Join(dir, "a.yaml")
	if err := os.WriteFile(file, []byte("name: n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var c config
	if err := yamlfile.Load(file, &c); err != nil || c.Name != "n" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestErrorsAreSortedAndFound(t *testing.T) {
	err := yamlfile.Decode("a.yaml", []byte("zzz: 1\nname: [a]\nlimit: x\n"), &config{})
	var last int
	list := yamlfile.List(err)
	if len(list) != 3 {
		t.Fatalf("want three errors, got %v", err)
	}
	for _, e := range list {
		if e.Line < last {
			t.Errorf("not sorted: %v", err)
		}
		last = e.Line
	}
	if yamlfile.List(errors.New("other")) != nil {
		t.Error("List made something of another error")
	}
	if (yamlfile.Errors{}).Err() != nil {
		t.Error("no mistakes must be no error")
	}
}

func TestDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "12s": 12 * time.Second, "1.5s": 1500 * time.Millisecond, "5m": 5 * time.Minute, "1h30m": 90 * time.Minute,
		"90d": 90 * 24 * time.Hour, "1d12h": 36 * time.Hour, "200ms": 200 * time.Millisecond,
	} {
		got, err := yamlfile.ParseDuration(s)
		if err != nil || got.Std() != want {
			t.Errorf("%s: got %v, %v", s, got, err)
		}
		back, err := yamlfile.ParseDuration(got.String())
		if err != nil || back != got {
			t.Errorf("%s: printed as %s, read back as %v, %v", s, got, back, err)
		}
	}
	for _, s := range []string{"", "12", "-1s", "+1s", "d", "1d0", "1d-1h", "1w", "999999999d", "106751d24h", "1 s", "1.5d", "s"} {
		if got, err := yamlfile.ParseDuration(s); err == nil {
			t.Errorf("%q accepted as %v", s, got)
		}
	}
	for d, want := range map[time.Duration]string{time.Hour: "1h", 5 * time.Minute: "5m", 48 * time.Hour: "2d", 90 * time.Second: "1m30s", 10 * time.Second: "10s", 0: "0s"} {
		if got := yamlfile.Duration(d).String(); got != want {
			t.Errorf("%v printed as %s, want %s", d, got, want)
		}
	}
}

// Whatever the bytes: no panic, and an error has a message, a place inside the
// file and no control characters that would reach a terminal.
func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		data, _ := os.ReadFile(file)
		f.Add(data)
	}
	f.Add([]byte(good))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c config
		file, err := yamlfile.Parse("f.yaml", data, &c)
		if err == nil {
			file.Pos(string(data))
			return
		}
		list := yamlfile.List(err)
		if len(list) == 0 {
			t.Fatalf("an error without a list: %v", err)
		}
		lines := strings.Count(string(data), "\n") + 1
		for _, e := range list {
			if e.Message == "" || e.Line < 0 || e.Line > lines || (e.Line > 0) != (e.Column > 0) {
				t.Fatalf("line %d of %d, column %d: %q", e.Line, lines, e.Column, e.Message)
			}
			if strings.ContainsAny(e.Snippet, "\x1b\r\x00\a") {
				t.Fatalf("control characters in %q", e.Snippet)
			}
		}
	})
}

func TestManyMistakesStayReadable(t *testing.T) {
	err := yamlfile.Decode("a.yaml", []byte("tags: a\n"+strings.Repeat("nope: 1\n", 200_000)), &config{})
	list := yamlfile.List(err)
	if len(list) != 51 || !strings.Contains(list[50].Message, "199950 more") {
		t.Errorf("got %d mistakes, the last: %v", len(list), list[len(list)-1])
	}
}

// What is wrong in shape doesn't hide what is wrong in meaning, and what only follows from it isn't told.
func TestShapeAndMeaningTogether(t *testing.T) {
	text := "nmae: x\nlimit: 7\nsize: big\ntags: [a]\nhosts:\n  c1:\n    levels:\n      - - {adress: a}\n        - {address: b}\n      - []\n  c1: {}\n"
	var c config
	f, err := yamlfile.Survey("a.yaml", []byte(text), &c)
	if err != nil {
		t.Fatal(err)
	}
	if c.Limit != 7 || c.Tags[0] != "a" || len(c.Hosts["c1"].Levels) != 2 || c.Hosts["c1"].Levels[0][1].Address != "b" {
		t.Errorf("what is right was not read: %+v", c)
	}
	f.Hide(9)
	err = f.All(yamlfile.Errors{
		f.Errorf("name", "no name"),
		f.Errorf("limit", "below 8"),
		f.Errorf("size", "no size"),
		f.Errorf("hosts.c1.levels[0][0].address", "no address"),
		f.Errorf("hosts.c1.levels[0][1].address", "not an address"),
		f.Errorf("hosts.c1.levels[1]", "no devices"),
	})
	want := `a.yaml:1:1: unknown key "nmae", did you mean "name"?
    nmae: x
    ^
a.yaml:2:8: below 8
    limit: 7
           ^
a.yaml:3:7: expected a whole number from 0 to 65535, got "big"
    size: big
          ^
a.yaml:8:12: unknown key "adress", did you mean "address"?
          - - {adress: a}
               ^
a.yaml:9:21: not an address
a.yaml:10:9: no devices
          - []
            ^
a.yaml:11:3: "c1" is given twice; first at line 6
      c1: {}
      ^`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := yamlfile.Survey("a.yaml", []byte("a: ["), &c); err == nil {
		t.Error("text that isn't YAML was read")
	}
}
