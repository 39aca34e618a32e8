package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/policy"
	"github.com/ninelives-ha/ninelives/internal/yamlfile"
)

func (a *app) policyCommand() *cobra.Command {
	return a.client(parent("policy", "The rules: which VMs come back, in what order, how bold to be",
		`The policy is one YAML file: the first rule that matches a VM decides what becomes of it. It is applied, not deployed:
check it, see what it would change, apply it. deploy/policy.yaml is a sample that documents every key.`,
		a.policyCheckCommand(), a.policyDiffCommand(), a.policyApplyCommand(), a.policyShowCommand(), a.policyExplainCommand()))
}

func (a *app) policyCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Find the mistakes in a policy file; needs no server",
		Long: `Reads a policy file and shows every mistake with file, line, column and what was probably meant, and what is allowed
but probably not meant. Nothing is sent anywhere. "-" reads standard input.`,
		Example:           `  ninelives policy check policy.yaml`,
		Args:              one("file"),
		ValidArgsFunction: yamlFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.checkFlags(cmd); err != nil {
				return err
			}
			f, err := a.file(args[0])
			if err != nil {
				return err
			}
			return a.checked(f)
		},
	}
}

// checked prints what is wrong with a file, and fails if anything is.
func (a *app) checked(f api.File) error {
	pol, err := policy.Parse(f.Path, []byte(f.Source))
	check := api.PolicyCheck{OK: err == nil, Mistakes: []api.Mistake{}, Advice: []policy.Advice{}}
	if err != nil {
		if check.Mistakes = mistakes(err); len(check.Mistakes) == 0 {
			return err
		}
	} else {
		check.Version, check.Advice = pol.Version(), orEmpty(pol.Advice())
	}
	err = a.show(check, func(p *page) {
		for _, m := range check.Mistakes {
			p.line("%s", mistakeText(m))
		}
		p.advice(f.Path, check.Advice)
		if check.OK {
			p.line("%s is right (version %s).", f.Path, check.Version)
		} else {
			p.line("%s has %s.", f.Path, count(len(check.Mistakes), "mistake"))
		}
	})
	if err == nil && !check.OK {
		return exitCode(exitFailed)
	}
	return err
}

func mistakes(err error) []api.Mistake {
	var out []api.Mistake
	for _, e := range yamlfile.List(err) {
		out = append(out, api.Mistake{Path: e.Path, Line: e.Line, Column: e.Column, Message: e.Message, Hint: e.Hint, Snippet: e.Snippet})
	}
	return out
}

func (p *page) advice(path string, advice []policy.Advice) {
	for _, ad := range advice {
		p.line("%s:%d: %s", path, ad.Line, p.paint(yellow, "advice: "+ad.Message))
	}
}

func (a *app) policyDiffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff FILE",
		Short: "Which VMs a policy would treat differently",
		Long: `Compares a policy file with the one in force, on the VMs that there are now: those that would be treated differently,
with what is decided now and what would be. Nothing is changed. It also names zones, aggregates, flavors and projects in
which there is nothing now: "policy check" can't know those, since it asks no server.`,
		Example:           `  ninelives policy diff policy.yaml`,
		Args:              one("file"),
		ValidArgsFunction: yamlFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.file(args[0])
			if err != nil {
				return err
			}
			d, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.PolicyDiff, error) { return c.DiffPolicy(ctx, f) })
			if err != nil {
				return err
			}
			return a.show(d, func(p *page) { p.diff(f.Path, d) })
		},
	}
}

func (p *page) diff(path string, d api.PolicyDiff) {
	p.advice(path, d.Advice)
	switch {
	case d.Old == d.New:
		p.line("%s is the policy in force (version %s).", path, d.New)
		return
	case len(d.Changes) == 0:
		p.line("None of %s would be treated differently.", count(d.VMs, "VM"))
		return
	}
	p.line("%d of %s would be treated differently:", len(d.Changes), count(d.VMs, "VM"))
	var rows [][]string
	for _, c := range d.Changes {
		rows = append(rows, []string{c.VM.Name, c.VM.ID, decisionText(c.Old), decisionText(c.New), c.New.Reason})
	}
	p.table("VM ID NOW THEN BECAUSE", rows)
}

func decisionText(d policy.Decision) string {
	if d.Action == policy.Resurrect {
		return fmt.Sprintf("%s (%d)", d.Action, d.Priority)
	}
	return string(d.Action)
}

func (a *app) policyApplyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a policy in force",
		Long: `Puts a policy in force on all servers at once. A file with a mistake changes nothing. Incidents that are open go on
with the plan they have.`,
		Example: `  ninelives policy diff policy.yaml
  ninelives policy apply policy.yaml`,
		Args:              one("file"),
		ValidArgsFunction: yamlFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.file(args[0])
			if err != nil {
				return err
			}
			pol, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Policy, error) { return c.ApplyPolicy(ctx, f) })
			if err != nil {
				return err
			}
			return a.show(pol, func(p *page) {
				p.advice(f.Path, pol.Advice)
				p.line("%s is in force (version %s).", f.Path, pol.Version)
			})
		},
	}
}

func (a *app) policyShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "The policy in force",
		Long:    `Prints the policy in force, as it was applied: comments and all.`,
		Example: `  ninelives policy show > policy.yaml`,
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			pol, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Policy, error) { return c.Policy(ctx) })
			if err != nil {
				return err
			}
			if a.conn.output == formatTable && pol.Source != "" {
				_, err := fmt.Fprint(a.env.Stdout, pol.Source)
				return err
			}
			return a.show(pol, func(p *page) {
				p.line("# No policy was applied yet. The built-in one resurrects every VM with priority 100, and only tells about hosts")
				p.line("# that are isolated, degraded or hung.")
			})
		},
	}
}

func (a *app) policyExplainCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "explain VM",
		Short:             "What the policy says of a VM, rule by rule",
		Long:              `Goes through the rules for one VM, by id or name, up to the one that decides.`,
		Example:           `  ninelives policy explain db-1`,
		Args:              one("VM"),
		ValidArgsFunction: a.complete(false, listVMs),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := ask(a, cmd, func(ctx context.Context, c *client.Client) ([]api.PolicyVerdict, error) {
				return c.ExplainPolicy(ctx, args[0])
			})
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return fmt.Errorf("there is no VM with the id or name %q (ninelives vm list)", args[0])
			}
			return a.show(map[string]any{"vms": list}, func(p *page) {
				for _, v := range list {
					p.gap()
					p.policyVerdict(v)
				}
			})
		},
	}
}

func (p *page) policyVerdict(v api.PolicyVerdict) {
	p.line("%s (%s) on %s: %s, %s", words(v.VM.Name), v.VM.ID, dash(v.Host), decisionText(v.Decision), words(v.Decision.Reason))
	if len(v.Steps) == 0 {
		p.line("  there are no rules")
		return
	}
	var rows [][]string
	for _, s := range v.Steps {
		rows = append(rows, []string{fmt.Sprintf("line %d", s.Line), s.Rule, string(s.Match), s.Why})
	}
	p.rows(rows)
}
