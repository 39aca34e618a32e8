package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

const rootHelp = `Ninelives gives an OpenStack cloud instance high availability: it notices that a compute host has failed,
makes certain that it is really gone, brings its virtual machines back elsewhere, verifies them, and takes the host back
when it is healthy again.

The commands below ask a server over its REST API; on a server itself they need no flags. -o json and -o yaml print the
API's own documents, for programs.

Exit codes:
  0  done
  1  failed
  2  wrong usage: a flag, an argument, a missing reason
  3  something is held or waits for you (status --exit-code, incident watch, doctor, fence check and import)
  4  no server could be reached, or none that can answer`

// group orders the commands in the help.
type group struct{ id, title string }

var (
	groupLook   = group{"look", "How things stand:"}
	groupAct    = group{"act", "To act:"}
	groupSetup  = group{"setup", "To set up:"}
	groupDaemon = group{"daemon", "The daemons:"}
	groupMore   = group{"more", "More:"}
)

// entry is a top-level command and where the help lists it.
type entry struct {
	group group
	cmd   *cobra.Command
}

// registered are all top-level commands; each that is added gets its line here.
func (a *app) registered() []entry {
	return []entry{
		{groupLook, a.statusCommand()},
		{groupLook, a.vmCommand()},
		{groupLook, a.planCommand()},
		{groupLook, a.doctorCommand()},
		{groupLook, a.eventsCommand()},
		{groupLook, a.auditCommand()},
		{groupAct, a.hostCommand()},
		{groupAct, a.incidentCommand()},
		{groupAct, a.armCommand()},
		{groupAct, a.disarmCommand()},
		{groupSetup, a.policyCommand()},
		{groupSetup, a.fenceCommand()},
		{groupSetup, a.tokenCommand()},
		{groupSetup, a.clusterCommand()},
		{groupDaemon, a.serverCommand()},
		{groupDaemon, a.agentCommand()},
		{groupDaemon, a.gateCommand()},
		{groupDaemon, a.hookCommand()},
		{groupLook, a.demoCommand()},
		{groupMore, a.manCommand()},
		{groupMore, a.versionCommand()},
	}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "ninelives",
		Short:         "Virtual machines that come back",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          needsCommand,
		Version:       a.versionText(),
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetIn(a.env.Stdin)
	root.SetOut(a.env.Stdout)
	root.SetErr(a.env.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{text: err.Error(), command: cmd.CommandPath()}
	})
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	for _, g := range []group{groupLook, groupAct, groupSetup, groupDaemon, groupMore} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
	}
	for _, e := range a.registered() {
		e.cmd.GroupID = e.group.id
		root.AddCommand(e.cmd)
	}
	takeFiles(root)
	root.SetHelpCommandGroupID(groupMore.id)
	root.SetCompletionCommandGroupID(groupMore.id)
	return root
}

// parent is a command that only holds others.
func parent(use, short, long string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long, Args: cobra.ArbitraryArgs, RunE: needsCommand}
	cmd.AddCommand(children...)
	return cmd
}

// needsCommand answers a parent without a command, or with one that it doesn't have.
func needsCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		if !cmd.HasParent() {
			return cmd.Help()
		}
		return usage(cmd, "%s needs a command: %s", cmd.CommandPath(), strings.Join(childNames(cmd), ", "))
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usage(cmd, "%s has no command %q; did you mean %s?", cmd.CommandPath(), args[0], strings.Join(near, " or "))
	}
	return usage(cmd, "%s has no command %q; it has %s", cmd.CommandPath(), args[0], strings.Join(childNames(cmd), ", "))
}

func childNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	slices.Sort(names)
	return names
}
