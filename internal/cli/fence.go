package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ninelives-ha/ninelives/internal/api"
	"github.com/ninelives-ha/ninelives/internal/api/client"
	"github.com/ninelives-ha/ninelives/internal/fence"
)

func (a *app) fenceCommand() *cobra.Command {
	return a.client(parent("fence", "Fence devices: bring them in, check them, bind them",
		`Fence devices are what switches a machine off: its BMC, its power outlets. A host has levels of them; each device is
checked all the time, and counts only if it is bound to the host's machine.

To fence a host by hand: ninelives host fence HOST.`,
		a.fenceListCommand(), a.fenceShowCommand(), a.fenceCheckCommand(), a.fenceImportCommand(), a.fenceBindCommand()))
}

func (a *app) fenceListCommand() *cobra.Command {
	var trouble bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "All devices, and whether they could fence now",
		Long:  `Lists the fence devices of all hosts as last checked: bound or not, working or not, and what is wrong.`,
		Example: `  ninelives fence list
  ninelives fence list --trouble`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := ask(a, cmd, func(ctx context.Context, c *client.Client) ([]api.Device, error) { return c.Devices(ctx) })
			if err != nil {
				return err
			}
			all := len(list)
			list = slices.DeleteFunc(list, func(d api.Device) bool { return trouble && d.Working })
			return a.show(map[string]any{"devices": orEmpty(list)}, func(p *page) {
				if all > 0 && len(list) == 0 {
					p.line("All %s work.", count(all, "device"))
					return
				}
				p.devices(list, false)
			})
		},
	}
	cmd.Flags().BoolVar(&trouble, "trouble", false, "only those that could not fence now")
	return cmd
}

// devices lists fence devices; of one host only, without its name.
func (p *page) devices(list []api.Device, oneHost bool) {
	if len(list) == 0 {
		p.line("No fence devices (ninelives fence import FILE).")
		return
	}
	var rows [][]string
	for _, d := range list {
		note := d.Trouble
		if note == "" {
			note = d.Why
		}
		row := []string{fmt.Sprint(d.Level), d.Device, yesNo(d.Bound), yesNo(d.Working), dash(d.Power), p.ago(d.Checked), dash(note)}
		if !oneHost {
			row = append([]string{d.Host}, row...)
		}
		rows = append(rows, row)
	}
	head := "LEVEL DEVICE BOUND WORKS POWER CHECKED NOTE"
	if !oneHost {
		head = "HOST " + head
	}
	p.table(head, rows)
}

func (a *app) fenceShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "show HOST",
		Short:             "One host's devices, step by step",
		Long:              `Shows the fence devices of one host with every step of the last check: reach, login, privilege, identity, power.`,
		Example:           `  ninelives fence show compute-07`,
		Args:              one("host"),
		ValidArgsFunction: a.complete(false, listHosts),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := ask(a, cmd, func(ctx context.Context, c *client.Client) ([]api.Device, error) { return devicesOf(ctx, c, args[0]) })
			if err != nil {
				return err
			}
			return a.show(map[string]any{"devices": orEmpty(list)}, func(p *page) {
				if len(list) == 0 {
					p.line("%s has no fence devices (ninelives fence import FILE).", args[0])
				}
				p.steps(list)
			})
		},
	}
}

// devicesOf are one host's. A host that isn't there is an error, one without devices isn't.
func devicesOf(ctx context.Context, c *client.Client, host string) ([]api.Device, error) {
	list, err := c.Devices(ctx)
	list = slices.DeleteFunc(list, func(d api.Device) bool { return d.Host != host })
	if err == nil && len(list) == 0 {
		_, err = c.Host(ctx, host)
	}
	return list, err
}

func (p *page) steps(list []api.Device) {
	for _, d := range list {
		p.gap()
		works := "works"
		if !d.Working {
			works = p.paint(red, "DOESN'T WORK: "+words(d.Trouble))
		}
		p.line("%s, level %d: %s (%s)", d.Host, d.Level, words(d.Device), works)
		rows := [][]string{{"bound", fmt.Sprintf("%s: %s", yesNo(d.Bound), dash(d.Why))}}
		for _, s := range d.Steps {
			grade := s.Grade
			if grade == "" {
				grade = "not tried"
			}
			rows = append(rows, []string{s.Name, grade + colon(s.Words)})
		}
		rows = append(rows, []string{"it reads", dash(d.Power) + p.readAt(d)}, []string{"identity", dash(d.Identity)})
		if d.Via != "" {
			rows = append(rows, []string{"through", d.Via})
		}
		if !d.Checked.IsZero() {
			rows = append(rows, []string{"checked", p.ago(d.Checked) + " ago"})
		}
		p.rows(rows)
	}
}

// readAt is when its power was read, where that isn't the check's reading.
func (p *page) readAt(d api.Device) string {
	if d.PowerAt.IsZero() || d.PowerAt.Equal(d.Checked) {
		return ""
	}
	return ", " + p.ago(d.PowerAt) + " ago"
}

func (a *app) fenceCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [HOST...]",
		Short: "Check devices now; switches nothing",
		Long: `Tries everything that a fence needs, now: reach the device, log in, may it switch power, whose machine is it, read the
power. Nothing is switched. Without a host: the devices of all. It ends with 3 if a device could not fence now.`,
		Example:           `  ninelives fence check compute-07`,
		ValidArgsFunction: a.complete(true, listHosts),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := ask(a, cmd, func(ctx context.Context, c *client.Client) ([]api.Device, error) { return c.CheckDevices(ctx, args) })
			if err != nil {
				return err
			}
			if err := a.show(map[string]any{"devices": orEmpty(list)}, func(p *page) { p.devices(list, false) }); err != nil {
				return err
			}
			if !working(list) {
				return exitCode(exitHeld)
			}
			return nil
		},
	}
	return cmd
}

// working reports whether each device could fence now.
func working(list []api.Device) bool {
	return !slices.ContainsFunc(list, func(d api.Device) bool { return !d.Working })
}

func (a *app) fenceImportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Bring in a devices.yaml",
		Long: `Brings the devices of a devices.yaml in and checks them. Hosts that the file doesn't name keep theirs. Every mistake is
shown with file, line, column and what was probably meant, and nothing is changed then. Passwords are named in the file
(password_file, password_env) and read by the server. deploy/devices.yaml is a sample that documents every key.

It ends with 3 if all was imported, but a device could not fence now: it doesn't work, or isn't bound to the host's machine
(an outlet never is by itself; a BMC once the host's agent has joined).`,
		Example:           `  ninelives fence import devices.yaml`,
		Args:              one("file"),
		ValidArgsFunction: yamlFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := a.file(args[0])
			if err != nil {
				return err
			}
			if _, err := fence.ParseDevices(f.Path, []byte(f.Source)); err != nil {
				return fmt.Errorf("%w\nNothing was changed", err) // a mistake is found without a server too
			}
			r, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Imported, error) { return c.ImportDevices(ctx, f) })
			if err != nil {
				return err
			}
			err = a.show(r, func(p *page) {
				p.line("%s", sentence(words(r.Text)))
				p.gap()
				p.devices(r.Devices, false)
			})
			if err == nil && !working(r.Devices) {
				return exitCode(exitHeld)
			}
			return err
		},
	}
}

func (a *app) fenceBindCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "bind HOST",
		Short: "Say that a host's devices are its own",
		Long: `A device counts as the host's own when it shows the identity that the host's agent reports. One that can't know its
machine (a switch of power outlets), or shows another identity, is bound by your word. If it shows the identity of
another host that lives, it is refused all the same.

Be certain: a wrong binding cuts the power of the wrong machine, and takes the other's VMs for dead.`,
		Example:           `  ninelives fence bind compute-07 --reason "outlet 4 of pdu1 and pdu2, traced by Ana"`,
		Args:              one("host"),
		ValidArgsFunction: a.complete(false, listHosts),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needReason(cmd, reason, "how do you know that the devices are this host's?"); err != nil {
				return err
			}
			r, err := ask(a, cmd, func(ctx context.Context, c *client.Client) (api.Reply, error) {
				return c.BindDevices(ctx, args[0], reason)
			})
			if err != nil {
				return err
			}
			return a.reply(r)
		},
	}
	reasonFlag(cmd, &reason, "how you know it (needed)")
	return cmd
}
