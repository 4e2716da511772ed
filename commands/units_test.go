package commands_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// unit reads a systemd unit: the values of each key, by "Section.Key", in order.
// It fails for lines that systemd would not understand.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	data, err := os.ReadFile("../cmd/davit/systemd/" + name)
	if err != nil {
		t.Fatal(err)
	}
	out, section := map[string][]string{}, ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch key, value, ok := strings.Cut(line, "="); {
		case line == "", line[0] == '#':
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			section = strings.Trim(line, "[]")
			if !slices.Contains([]string{"Unit", "Service", "Install"}, section) {
				t.Errorf("%s: section %q", name, section)
			}
		case !ok || section == "" || value == "" || strings.ContainsAny(key, " \t"):
			t.Errorf("%s: %q is no setting", name, line)
		default:
			out[section+"."+key] = append(out[section+"."+key], value)
		}
	}
	return out
}

func TestUnits(t *testing.T) {
	for _, tt := range []struct {
		name string
		want map[string]string
	}{
		{"davit.service", map[string]string{
			"Service.Type": "notify", "Service.ExecStart": "@BINDIR@/davit serve-cri", "Service.Restart": "always",
		}},
		{"davit-restart.service", map[string]string{
			"Service.Type": "oneshot", "Service.RemainAfterExit": "yes",
			"Service.ExecStart": "@BINDIR@/davit start --all --filter should-start-on-boot=true",
			"Unit.After":        "network-online.target local-fs.target", "Unit.Wants": "network-online.target",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := unit(t, tt.name)
			tt.want["Service.KillMode"] = "process" // monitors and containers outlive it
			tt.want["Install.WantedBy"] = "multi-user.target"
			for key, want := range tt.want {
				if got := strings.Join(u[key], " "); got != want {
					t.Errorf("%s is %q, want %q", key, got, want)
				}
			}
			for key := range u {
				// Each of these makes a mount namespace, whose mounts others do not see.
				for _, bad := range []string{"Protect", "Private", "ReadOnly", "Inaccessible", "TemporaryFileSystem", "BindPaths", "RootDirectory"} {
					if strings.HasPrefix(strings.TrimPrefix(key, "Service."), bad) {
						t.Errorf("%s sandboxes the engine", key)
					}
				}
			}
		})
	}
}

// All units are installed, and uninstalled.
func TestMakefileInstallsUnits(t *testing.T) {
	data, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, install, _ := strings.Cut(string(data), "\ninstall:")
	install, uninstall, _ := strings.Cut(install, "\nuninstall:")
	uninstall, _, _ = strings.Cut(uninstall, "\n\n")
	units, err := os.ReadDir("../cmd/davit/systemd")
	if err != nil || len(units) != 2 {
		t.Fatalf("%d units, %v", len(units), err)
	}
	for _, u := range units {
		if !strings.Contains(install, u.Name()) || !strings.Contains(uninstall, "/"+u.Name()) {
			t.Errorf("%s is not installed, or not uninstalled", u.Name())
		}
	}
}
