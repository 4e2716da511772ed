package syscmd

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/davit-containers/davit/commands/cli"
)

// write prints the report for people.
func (r infoReport) write(w io.Writer) error {
	var b strings.Builder
	head := func(s string) { b.WriteString(s + ":\n") }
	line := func(name string, value any) {
		text := fmt.Sprint(value)
		fmt.Fprintf(&b, "  %-15s %s\n", name+":", cmp.Or(text, "-"))
	}
	head("Host")
	line("Name", r.Host.Hostname)
	line("System", r.Host.OS)
	line("Kernel", r.Host.Kernel+" "+r.Host.Arch)
	line("CPUs", r.Host.CPUs)
	line("Memory", cli.Size(r.Host.MemTotal))
	line("Cgroups", fmt.Sprintf("version %d, manager %s", r.Host.CgroupVersion, r.Davit.CgroupManager))
	head("Davit")
	line("Version", r.Davit.Version)
	line("Configuration", cmp.Or(strings.Join(r.Davit.ConfigFiles, " "), "defaults"))
	line("Root", r.Davit.Root)
	line("Run root", r.Davit.RunRoot)
	line("Monitor", cmp.Or(r.Davit.Monitor, "conmon is not installed"))
	head("Runtimes")
	for _, rt := range r.Runtimes {
		text := cmp.Or(rt.Path, "not installed")
		if rt.Default {
			text += " (default)"
		}
		line(rt.Name, text)
	}
	head("Images")
	line("Driver", r.Store.Driver)
	line("Store", r.Store.Root)
	line("Images", r.Store.Images)
	head("Network")
	line("Default", r.Network.Default)
	line("CNI", r.Network.CNIDir)
	line("Plugins", strings.Join(r.Network.PluginDirs, " "))
	_, err := io.WriteString(w, b.String())
	return err
}
