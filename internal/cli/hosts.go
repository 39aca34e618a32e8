package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/engine"
)

func (a *app) hostCommand() *cobra.Command {
	return a.client(parent("host", "Compute hosts: look at them, set them aside, fence them, take them back",
		"Compute hosts, named as Nova names them.",
		a.hostListCommand(), a.hostShowCommand(), a.hostMaintenanceCommand(), a.hostReadmitCommand(), a.hostFenceCommand(),
		a.hostConfirmDownCommand(), a.hostRejoinCommand(), a.hostDrainCommand()))
}

func (a *app) hostListCommand() *cobra.Command {
	var verdict, zone string
	var trouble bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "All hosts with their verdicts",
		Long: `Lists the compute hosts that Nova knows: what the evidence about each adds up to, since when, whether it is
protected, and how many VMs it runs.`,
		Example: `  ninelives host list
  ninelives host list --trouble
  ninelives host list --verdict hung -o json`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hosts, err := ask(a, cmd, func(ctx context.Context, c *client.Client) ([]api.Host, error) { return c.Hosts(ctx) })
			if err != nil {
				return err
			}
			all := len(hosts)
			hosts = slices.DeleteFunc(hosts, func(h api.Host) bool {
				return zone != "" && h.Zone != zone || verdict != "" && string(h.Verdict) != verdict || trouble && !troubled(h)
			})
			return a.show(map[string]any{"hosts": orEmpty(hosts)}, func(p *page) { p.hosts(hosts, all) })
		},
	}
	cmd.Flags().StringVar(&verdict, "verdict", "", "only those with this verdict (up, off, dead, hung …)")
	cmd.Flags().StringVar(&zone, "zone", "", "only those of this availability zone")
	cmd.Flags().BoolVar(&trouble, "trouble", false, "only those that are not up, suspect, in maintenance or unprotected")
	return cmd
}

func troubled(h api.Host) bool {
	return h.Verdict != engine.Up || h.Suspect || h.Maintenance != nil || h.Unprotected != "" || h.Incident != ""
}

func (p *page) hosts(hosts []api.Host, all int) {
	switch {
	case all == 0:
		p.line("No hosts are known yet: Nova has listed none. (ninelives doctor)")
		return
	case len(hosts) == 0:
		p.line("None of the %s is like that.", count(all, "host"))
		return
	}
	var rows [][]string
	for _, h := range hosts {
		rows = append(rows, []string{h.Name, dash(h.Zone), verdictText(h), p.ago(h.Since), fmt.Sprint(h.VMs), dash(h.Incident), hostNote(h)})
	}
	p.table("HOST ZONE VERDICT SINCE VMS INCIDENT NOTE", rows)
}

func verdictText(h api.Host) string {
	switch {
	case h.Suspect:
		return "suspect"
	case h.Verdict == "":
		return "unknown"
	default:
		return string(h.Verdict)
	}
}

// hostNote is the most important thing about a host that its verdict doesn't say.
func hostNote(h api.Host) string {
	var notes []string
	if h.Maintenance != nil {
		notes = append(notes, "maintenance: "+h.Maintenance.Reason)
	}
	if h.Unprotected != "" {
		notes = append(notes, "unprotected: "+h.Unprotected)
	}
	if h.Service.ForcedDown {
		notes = append(notes, "forced down")
	}
	if h.Service.Disabled {
		notes = append(notes, "disabled"+colon(h.Service.DisabledReason))
	}
	if (h.Suspect || h.Verdict != engine.Up) && h.Reason != "" {
		notes = append(notes, h.Reason)
	}
	return dash(strings.Join(notes, "; "))
}

func colon(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func (a *app) hostShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show HOST",
		Short: "All that is known of one host",
		Long: `Shows one host: its verdict with the evidence, each network it can be seen on, its agent, nova-compute, the fence
devices, and its VMs.`,
		Example:           `  ninelives host show compute-07`,
		Args:              one("host"),
		ValidArgsFunction: a.complete(false, listHosts),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.HostDetail, error) { return c.Host(ctx, args[0]) })
			if err != nil {
				return err
			}
			return a.show(h, func(p *page) { p.host(h) })
		},
	}
}

func (p *page) host(h api.HostDetail) {
	p.line("%s: %s%s%s", h.Name, verdictText(h.Host), p.sinceText(h.Since), colon(words(h.Reason)))
	for _, e := range h.Evidence {
		p.line("  %s", words(e))
	}
	if h.Waiting != "" {
		p.line("  waits: %s", words(h.Waiting))
	}
	if len(h.Muted) > 0 {
		p.line("  without a voice since they contradicted each other: %s", words(strings.Join(h.Muted, ", ")))
	}
	facts := [][]string{
		{"protected", protectedText(h.Unprotected)},
		{"incident", dash(h.Incident)},
		{"nova-compute", serviceText(h.Service)},
		{"hypervisor", dash(h.Hypervisor)},
		{"zone", dash(h.Zone)},
		{"aggregates", dash(strings.Join(h.Aggregates, ", "))},
		{"free", fmt.Sprintf("%d MiB, %d vCPUs", h.FreeMB, h.FreeVCPUs)},
		{"last life", p.lifeText(h.Host)},
		{"agent", p.agentText(h)},
		{"machine", machineText(h.Joined)},
	}
	if h.Maintenance != nil {
		facts = append(facts, []string{"maintenance", fmt.Sprintf("%s (%s%s)", h.Maintenance.Reason, h.Maintenance.By, p.sinceText(h.Maintenance.At))})
	}
	p.rows(facts)
	p.gap()
	p.planes(h.Planes)
	p.gap()
	p.devices(h.Devices, true)
	p.gap()
	p.vms(h.Guests, false)
}

func protectedText(why string) string {
	if why == "" {
		return "yes"
	}
	return "NO: " + why
}

func serviceText(s engine.Service) string {
	var parts []string
	switch {
	case s.ID == "":
		return "-"
	case s.Up:
		parts = append(parts, "up")
	default:
		parts = append(parts, "down")
	}
	if s.Disabled {
		parts = append(parts, "disabled"+colon(s.DisabledReason))
	}
	if s.ForcedDown {
		parts = append(parts, "forced down")
	}
	return strings.Join(parts, ", ")
}

// machineText is what the machine's firmware says it is: what people compare with the label before they give their word.
func machineText(j *api.AgentRecord) string {
	if j == nil {
		return "-"
	}
	return fmt.Sprintf("serial %s, UUID %s", dash(j.Serial), dash(j.UUID))
}

func (p *page) lifeText(h api.Host) string {
	if h.LastLife.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%s ago (boot %s)", p.ago(h.LastLife), dash(short(h.Boot)))
}

func (p *page) agentText(h api.HostDetail) string {
	j := h.Joined
	if j == nil {
		return fmt.Sprintf("none has joined (ninelives token create %s)", h.Name)
	}
	parts := []string{dash(j.Version), "not connected to this server"}
	if j.Connected {
		parts[1] = "connected"
	}
	if h.Agent.GateClosed {
		parts = append(parts, "gate CLOSED")
	}
	if h.Agent.GuestsSeen {
		parts = append(parts, "sees "+count(len(h.Agent.Guests), "guest"))
	}
	if j.Rejoin {
		parts = append(parts, "another machine may join under this name")
	}
	return strings.Join(parts, ", ")
}

func (p *page) planes(planes []api.Plane) {
	if len(planes) == 0 {
		p.line("No network is known that it could be seen on: its agent has not said its addresses yet.")
		return
	}
	var rows [][]string
	for _, pl := range planes {
		silent := "-"
		if pl.SilentFor > 0 {
			silent = fmt.Sprintf("%.1f s", pl.SilentFor)
		}
		rows = append(rows, []string{pl.Plane, dash(pl.Address), pl.State, p.ago(pl.LastLife), silent, dash(some(pl.WitnessedBy, 4))})
	}
	p.table("PLANE ADDRESS STATE LAST-LIFE SILENT WITNESSES", rows)
	for _, pl := range planes {
		if pl.Why != "" {
			p.line("  %s: %s", pl.Plane, pl.Why)
		}
	}
}
