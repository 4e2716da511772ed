package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConfigOrder(t *testing.T) {
	file := writeFile(t, "davit.toml", `
# a comment
log_level = "info"
[engine]
runtime = "crun"
conmon = "/opt/conmon"
[network]
default = "file"
plugin_dirs = ["/a", "/b"]
[containers]
shm_size = "128m"
pids_limit = 10
log_size_max = 1024
[runtimes.kata]
path = "/usr/bin/kata"
[runtimes."with.dot"]
`)
	text := strings.Replace(readFile(t, file), `[runtimes."with.dot"]`, "", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	drop := file + ".d"
	if err := os.Mkdir(drop, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"10-a.toml":  "[network]\ndefault = \"drop-a\"\n[runtimes.kata]\nargs = [\"--debug\"]\n",
		"20-b.toml":  "[network]\ndefault = \"drop-b\"\nsubnet = \"10.1.0.0/16\"\n",
		"README":     "not read",
		"30-c.toml~": "not read",
	} {
		if err := os.WriteFile(filepath.Join(drop, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var flags Settings
	flags.Set("engine.runtime", "runtime", "/usr/bin/youki")
	flags.Append("storage.options", "storage-opt", "a=1")
	flags.Append("storage.options", "storage-opt", "b=1,2")
	c, err := LoadConfig(Sources{
		File: "/nonexistent/davit.toml",
		Environ: []string{
			"DAVIT_CONFIG=" + file, "DAVIT_ENGINE_RUNTIME=env", "DAVIT_NETWORK_BRIDGE=br-env",
			"DAVIT_CONTAINERS_STOP_TIMEOUT=-1", "DAVIT_NETWORK_PLUGIN_DIRS=/c,/d", "DAVIT_SOMETHING=else",
		},
		Flags: flags,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.LogLevel = "info"
	want.Engine.Runtime, want.Engine.Conmon = "/usr/bin/youki", "/opt/conmon"
	want.Network.Default, want.Network.Subnet, want.Network.Bridge = "drop-b", "10.1.0.0/16", "br-env"
	want.Network.PluginDirs = []string{"/c", "/d"}
	want.Containers.ShmSize, want.Containers.PidsLimit, want.Containers.LogSizeMax = 128<<20, 10, 1024
	want.Containers.StopTimeout = -1
	want.Storage.Options = []string{"a=1", "b=1,2"}
	want.Runtimes = map[string]RuntimeConfig{"kata": {Path: "/usr/bin/kata", Args: []string{"--debug"}}}
	if diff := cmp.Diff(want, c, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Error(diff)
	}
	for key, origin := range map[string]string{
		"log_level":                file + ":3",
		"engine.conmon":            file + ":6",
		"engine.runtime":           "flag --runtime",
		"network.default":          filepath.Join(drop, "20-b.toml") + ":2",
		"network.bridge":           "env DAVIT_NETWORK_BRIDGE",
		"storage.options":          "flag --storage-opt",
		"runtimes.kata.args":       filepath.Join(drop, "10-a.toml") + ":4",
		"containers.stop_timeout":  "env DAVIT_CONTAINERS_STOP_TIMEOUT",
		"containers.log_max_files": "default",
	} {
		if got := c.Origin(key); got != origin {
			t.Errorf("origin of %s: %s, want %s", key, got, origin)
		}
	}
	if n := len(c.Settings()); n != len(DefaultConfig().Settings())+4 {
		t.Errorf("%d settings: those of the runtime are missing", n)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestConfigErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want, hint string }{
		{"unknown key", "[engine]\n\nruntme = \"crun\"\n", `:3: unknown key "engine.runtme"`, `did you mean "engine.runtime"?`},
		{"key of another table", "subnet = \"10.0.0.0/8\"\n", `:1: unknown key "subnet"`, `did you mean "network.subnet"?`},
		{"unknown table", "[netwrk]\ndefault = \"x\"\n", `:2: unknown key "netwrk.default"`, `did you mean "network.default"?`},
		{"unknown empty table", "[nothing]\n", `:1: unknown key "nothing"`, ""},
		{"key of a runtime", "[runtimes.kata]\npth = \"/x\"\n", `:2: unknown key "runtimes.kata.pth"`, `did you mean "runtimes.kata.path"?`},
		{"type", "[containers]\npids_limit = \"many\"\n", `:2: containers.pids_limit: want an integer, got the string "many"`, ""},
		{"list type", "[network]\nplugin_dirs = \"/a\"\n", `:2: network.plugin_dirs: want a list of strings, got the string "/a"`, ""},
		{"list of numbers", "[network]\nplugin_dirs = [1]\n", "want a list of strings, got a list", ""},
		{"table for a key", "[root]\nx = 1\n", `unknown key "root.x"`, ""},
		{"key for a table", "network = 1\n", `:1: unknown key "network"`, ""},
		{"size", "[containers]\nshm_size = \"lots\"\n", `"lots" is not a size`, ""},
		{"negative size", "[containers]\nshm_size = -1\n", "a size is not negative", ""},
		{"relative path", "root = \"davit\"\n", `:1: root: "davit" is not an absolute path`, ""},
		{"level", "log_level = \"loud\"\n", `"loud" is none of debug, info, warn, error`, ""},
		{"driver", "[storage]\ndriver = \"aufs\"\n", `none of overlay, btrfs, zfs, vfs`, ""},
		{"subnet", "[network]\nsubnet = \"10.0.0.0\"\n", "is not an IPv4 subnet", ""},
		{"subnet of the other family", "[network]\nsubnet = \"fd00::/64\"\n", "is not an IPv4 subnet", ""},
		{"bridge", "[network]\nbridge = \"a name that is too long\"\n", "is not the name of an interface", ""},
		{"detach keys", "[containers]\ndetach_keys = \"ctrl-\"\n", "are not keys", ""},
		{"capability", "[containers]\ndefault_capabilities = [\"chown!\"]\n", "is not a capability", ""},
		{"ulimit", "[containers]\ndefault_ulimits = [\"nofile\"]\n", "is not a limit", ""},
		{"env", "[containers]\nenv = [\"=x\"]\n", "is not KEY=value", ""},
		{"limit", "[containers]\npids_limit = -2\n", "neither a number nor -1", ""},
		{"address", "[cri]\nstream_address = \"localhost:1\"\n", "not an IP address and a port", ""},
		{"count", "[images]\nparallel_transfers = 0\n", "less than 1", ""},
		{"runtime path", "[engine]\nruntime = \"./runc\"\n", "neither a name nor an absolute path", ""},
		{"runtime name", "[runtimes.\"a b\"]\npath = \"/x\"\n", `"a b" is not a name`, ""},
		{"seccomp", "[containers]\nseccomp_profile = \"off\"\n", "neither an absolute path nor unconfined", ""},
		{"syntax", "root = \n", ":1: ", ""},
		{"twice", "root = \"/a\"\nroot = \"/b\"\n", ":2: ", ""},
		{"half of the roots", "root = \"/a\"\n", "one was moved without the other", "give --root and --runroot together"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := writeFile(t, "davit.toml", tt.text)
			_, err := LoadConfig(Sources{File: file})
			if err == nil {
				t.Fatal("no error")
			}
			text, hint := Message(err)
			if !strings.Contains(text, tt.want) {
				t.Errorf("%q lacks %q", text, tt.want)
			}
			if tt.name != "half of the roots" && !strings.HasPrefix(text, file) {
				t.Errorf("%q does not begin with the file", text)
			}
			if tt.hint != "" && hint != tt.hint {
				t.Errorf("hint %q, want %q", hint, tt.hint)
			}
		})
	}
}

func TestConfigSourceErrors(t *testing.T) {
	var level Settings
	level.Set("log_level", "log-level", "loud")
	for _, tt := range []struct {
		name string
		src  Sources
		want string
	}{
		{"flag", Sources{Flags: level}, `--log-level: "loud" is none of`},
		{"environment", Sources{Environ: []string{"DAVIT_CONTAINERS_PIDS_LIMIT=x"}}, "environment variable DAVIT_CONTAINERS_PIDS_LIMIT: want an integer"},
		{"file of the environment", Sources{Environ: []string{"DAVIT_CONFIG=/nonexistent/x.toml"}}, "/nonexistent/x.toml: no such file"},
		{"file of a flag", Sources{Flags: Settings{File: "/nonexistent/y.toml"}}, "/nonexistent/y.toml: no such file"},
	} {
		if _, err := LoadConfig(tt.src); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v lacks %q", tt.name, err, tt.want)
		}
	}
	if c, err := LoadConfig(Sources{File: "/nonexistent/davit.toml"}); err != nil || c.Root != DefaultRoot {
		t.Errorf("without any file: %v", err)
	}
	if c, err := LoadConfig(Sources{Environ: []string{"DAVIT_NETWORK_SUBNET6=none"}}); err != nil || c.Network.Subnet6 != "none" {
		t.Errorf("a network without IPv6: %v", err)
	}
	if _, err := LoadConfig(Sources{Flags: Settings{File: "/dev/null"}}); err != nil {
		t.Errorf("with an empty file: %v", err)
	}
}

func TestDefaultTOML(t *testing.T) {
	file := writeFile(t, "davit.toml", DefaultTOML())
	c, err := LoadConfig(Sources{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DefaultConfig(), c, cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	for _, s := range c.Settings() {
		if !strings.HasPrefix(s.Origin, file+":") {
			t.Errorf("%s is not in the file: %s", s.Key, s.Origin)
		}
	}
	// The example of a runtime holds too.
	text := strings.NewReplacer("# [runtimes", "[runtimes", "# path", "path", "# root = \"\"\n# args", "root = \"\"\nargs").Replace(DefaultTOML())
	if c, err = LoadConfig(Sources{File: writeFile(t, "davit.toml", text)}); err != nil || c.Runtimes["kata"].Path == "" {
		t.Errorf("the example of a runtime: %v, %v", c, err)
	}
}

func TestEngineRoots(t *testing.T) {
	c := DefaultConfig()
	if cfg := (Settled{Config: c}).images(); cfg.Root != "" || cfg.RunRoot != "" {
		t.Errorf("davit's default roots move the host's image store to %q", cfg.Root)
	}
	if n := (Settled{Config: c}).networks(); !n.DefaultRoots {
		t.Error("the default roots are not")
	}
	c.Root, c.RunRoot = "/a", "/b"
	if cfg := (Settled{Config: c}).images(); cfg.Root != "/a" || cfg.RunRoot != "/b" {
		t.Errorf("a davit on roots of its own uses the store in %q", cfg.Root)
	}
	if n := (Settled{Config: c}).networks(); n.DefaultRoots || n.RunRoot != "/b" {
		t.Error("roots of its own are taken for the default ones")
	}
}
