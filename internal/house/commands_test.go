package house

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ninelives-ha/ninelives/internal/cli"
)

// help is what the program itself says about a command.
func help(t *testing.T) func(words []string) string {
	return func(words []string) string {
		var out bytes.Buffer
		cli.Run(t.Context(), cli.Env{
			Args: append(append([]string{}, words...), "--help"), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out,
			Getenv: func(string) string { return "" }, Now: time.Now,
		})
		return out.String()
	}
}

// Every command that a page tells its readers to type is there, with its flags.
func TestCommandsOfThePagesExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for name, page := range markdown(t) {
		for _, c := range commands(page) {
			found++
			why := ""
			if c.words[0] == "make" {
				if target := c.words[1]; !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:`).Match(makefile) {
					why = fmt.Sprintf("the Makefile has no target %q", target)
				}
			} else {
				why = c.wrong(help(t))
			}
			if why != "" {
				t.Errorf("%s:%d: %s: %s", name, c.line, strings.Join(c.words, " "), why)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d commands were found in the pages", found)
	}
}

func TestWrongCommandsAreFound(t *testing.T) {
	for line, want := range map[string]string{
		"ninelives status --watch":                              "",
		"$ ninelives host show compute-01":                      "",
		"ssh x && sudo ninelives gate --open --reason \"it's\"": "",
		"ninelives host confirm-dwon compute-01":                `there is no command "ninelives host confirm-dwon"`,
		"ninelives stauts":                                      `there is no command "ninelives stauts"`,
		"ninelives status --wacht":                              "ninelives status has no flag --wacht",
		"ninelives server init --bundle-out=x":                  "",
		"ninelives server --bundle-out x":                       "ninelives server has no flag --bundle-out",
	} {
		c := commands("text\n```\n" + line + "\n```\n")
		if len(c) != 1 || c[0].line != 3 {
			t.Errorf("%s: found %+v", line, c)
			continue
		}
		if got := c[0].wrong(help(t)); got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
	if c := commands("Stop it: `ninelives disarm --reason \"…\"`, `systemctl stop ninelives-agent`, `make`, chown ninelives"); len(c) != 1 {
		t.Errorf("found %+v", c)
	}
}
