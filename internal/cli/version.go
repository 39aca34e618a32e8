package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "This program's version",
		Long:    `Prints the version of this program. The server's own is in ninelives status -o json.`,
		Example: `  ninelives version`,
		Args:    none,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.env.Stdout, a.versionText())
			return err
		},
	}
}

func (a *app) versionText() string {
	return fmt.Sprintf("ninelives %s (%s, %s/%s)", a.env.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (a *app) manCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man",
		Short: "Write the manual pages",
		Long: `Writes a manual page for each command into a directory, which is made if it isn't there. SOURCE_DATE_EPOCH sets their
date, for builds that can be repeated.`,
		Example: `  ninelives man --dir /usr/local/share/man/man1`,
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usage(cmd, "where to? --dir DIR")
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("cannot write the manual pages: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			if err := a.manPages(root, dir); err != nil {
				return fmt.Errorf("cannot write the manual pages: %w", err)
			}
			_, err := fmt.Fprintf(a.env.Stdout, "The manual pages are in %s.\n", dir)
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "directory to write into (needed)")
	return cmd
}

// manPages writes the page of a command and of all below it. The generator shows a flag that takes no value as
// "--yes[=false]", which nobody types.
func (a *app) manPages(cmd *cobra.Command, dir string) error {
	for _, child := range cmd.Commands() {
		if !child.IsAvailableCommand() {
			continue
		}
		if err := a.manPages(child, dir); err != nil {
			return err
		}
	}
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
	header := &doc.GenManHeader{Title: strings.ToUpper(name), Section: "1", Source: "Ninelives " + a.env.Version, Manual: "Ninelives"}
	var page bytes.Buffer
	if err := doc.GenMan(cmd, header, &page); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".1"), bytes.ReplaceAll(page.Bytes(), []byte("[=false]"), nil), 0o644)
}
