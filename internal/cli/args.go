package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
)

// none refuses arguments.
func none(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, "%s takes no arguments; there is %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// one wants exactly one argument, named what.
func one(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0 || args[0] == "":
			return usage(cmd, "which %s? %s", what, cmd.UseLine())
		case len(args) > 1:
			return usage(cmd, "%s takes one %s at a time; there are %d", cmd.CommandPath(), what, len(args))
		}
		return nil
	}
}

// oneOrMore wants at least one argument, named what.
func oneOrMore(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage(cmd, "which %s? %s", what, cmd.UseLine())
		}
		return nil
	}
}

// reasonFlag adds --reason; needReason asks for it where it must be given.
func reasonFlag(cmd *cobra.Command, reason *string, help string) {
	cmd.Flags().StringVar(reason, "reason", "", help)
}

func needReason(cmd *cobra.Command, reason, why string) error {
	if strings.TrimSpace(reason) == "" {
		return usage(cmd, "%s needs --reason \"…\": %s", cmd.CommandPath(), why)
	}
	return nil
}

// mayAsk refuses what people must confirm where nobody can be asked, before anything is done.
func (a *app) mayAsk(cmd *cobra.Command, yes bool) error {
	if yes || a.env.InTerminal {
		return nil
	}
	return usage(cmd, "%s needs --yes where nobody can be asked (standard input is no terminal); nothing was done", cmd.CommandPath())
}

// confirm asks people to type a word before something dangerous. A program can't be asked: see mayAsk.
func (a *app) confirm(cmd *cobra.Command, word, danger string) error {
	fmt.Fprintf(a.env.Stderr, "%s\nType %s to go on: ", danger, word)
	typed, err := bufio.NewReader(a.env.Stdin).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("cannot read your answer: %w", err)
	}
	if strings.TrimSpace(typed) != word {
		return fmt.Errorf("%s: not confirmed, nothing was done (--yes goes on without asking)", cmd.CommandPath())
	}
	return nil
}

// file reads an operator's file; "-" is standard input.
func (a *app) file(path string) (api.File, error) {
	var text []byte
	var err error
	if path == "-" {
		path = "(standard input)"
		text, err = io.ReadAll(io.LimitReader(a.env.Stdin, 16<<20+1))
	} else {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return api.File{}, fmt.Errorf("cannot read the file: %w", err)
	}
	return api.File{Path: path, Source: string(text)}, nil
}

// reply prints what became of a request.
func (a *app) reply(r api.Reply) error {
	return a.show(r, func(p *page) { p.line("%s", sentence(words(r.Text))) })
}

// sentence begins with a capital where it begins with a word, and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return "Done."
	}
	if !strings.HasSuffix(s, ".") && !strings.HasSuffix(s, ")") {
		s += "."
	}
	return s
}

const completionPatience = 2 * time.Second

// complete lists what the server knows, for the shell's completion. No answer is no completion.
func (a *app) complete(many bool, list func(context.Context, *client.Client) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !many {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := a.dial(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
		defer cancel()
		all, err := list(ctx, c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var fit []string
		for _, s := range all {
			if strings.HasPrefix(s, prefix) {
				fit = append(fit, s)
			}
		}
		return fit, cobra.ShellCompDirectiveNoFileComp
	}
}

// flagValues is complete for a flag: however many arguments there are.
func (a *app) flagValues(list func(context.Context, *client.Client) ([]string, error)) cobra.CompletionFunc {
	return a.complete(true, list)
}

func listHosts(ctx context.Context, c *client.Client) ([]string, error) {
	hosts, err := c.Hosts(ctx)
	var out []string
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return out, err
}

func listIncidents(state string) func(context.Context, *client.Client) ([]string, error) {
	return func(ctx context.Context, c *client.Client) ([]string, error) {
		incidents, err := c.Incidents(ctx, state, "")
		var out []string
		for _, i := range incidents {
			out = append(out, i.ID+"\t"+i.Host+", "+string(i.Verdict))
		}
		return out, err
	}
}

// takeFiles lets the shell complete files, or directories, where a flag names one; elsewhere it would only be in the way.
func takeFiles(cmd *cobra.Command) {
	for name, how := range map[string]cobra.ShellCompDirective{
		"config": cobra.ShellCompDirectiveDefault, "token-file": cobra.ShellCompDirectiveDefault, "ca-file": cobra.ShellCompDirectiveDefault,
		"bundle": cobra.ShellCompDirectiveDefault, "bundle-out": cobra.ShellCompDirectiveDefault, "out": cobra.ShellCompDirectiveDefault,
		"at": cobra.ShellCompDirectiveDefault, "data": cobra.ShellCompDirectiveFilterDirs, "dir": cobra.ShellCompDirectiveFilterDirs,
	} {
		if cmd.LocalFlags().Lookup(name) == nil {
			continue
		}
		if err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(nil, how)); err != nil {
			panic(err) // a flag that is there and has none yet
		}
	}
	for _, child := range cmd.Commands() {
		takeFiles(child)
	}
}

// anyFile completes one file.
func anyFile(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// completeFlag completes a flag's values.
func completeFlag(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // a flag that was just made
	}
}

func listVMs(ctx context.Context, c *client.Client) ([]string, error) {
	vms, err := c.VMs(ctx, "", "")
	var out []string
	for _, vm := range vms {
		out = append(out, vm.Name)
	}
	return out, err
}

func listZones(ctx context.Context, c *client.Client) ([]string, error) {
	hosts, err := c.Hosts(ctx)
	var out []string
	for _, h := range hosts {
		if !slices.Contains(out, h.Zone) {
			out = append(out, h.Zone)
		}
	}
	return out, err
}

func yamlFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}
