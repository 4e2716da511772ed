package syscmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/commands/cli"
)

func TestVersion(t *testing.T) {
	row := versionRow{Version: "1.2", GoVersion: "go1.26", OSArch: "linux/amd64"}
	for format, want := range map[string]string{
		"":             "Version:     1.2\nGo Version:  go1.26\nOS/Arch:     linux/amd64\n",
		"{{.Version}}": "1.2\n",
		"json":         "{\n  \"Version\": \"1.2\",\n  \"GoVersion\": \"go1.26\",\n  \"OSArch\": \"linux/amd64\"\n}\n",
	} {
		var out bytes.Buffer
		if err := printVersion(&out, format, row); err != nil || out.String() != want {
			t.Errorf("%q: %q, %v", format, out.String(), err)
		}
	}
	var usage *cli.UsageError
	if err := printVersion(&bytes.Buffer{}, "{{.Nope}}", row); !errors.As(err, &usage) {
		t.Errorf("an unknown field: %v", err)
	}
}

func TestConfigShow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "davit.toml")
	if err := os.WriteFile(file, []byte("[network]\nplugin_dirs = [\"/a\", \"/b\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	show := func(o showOptions) (string, error) {
		var out bytes.Buffer
		env := cli.NewEnv(cli.Streams{Out: &out, Err: &out}, []string{"DAVIT_CONFIG=" + file})
		err := o.run(env)
		return out.String(), err
	}
	got, err := show(showOptions{Keys: []string{"network.plugin_dirs", "log_level"}, Origin: true})
	if err != nil {
		t.Fatal(err)
	}
	want := "KEY                  VALUE  ORIGIN\nnetwork.plugin_dirs  /a,/b  " + file + ":2\nlog_level            warn   default\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got, err = show(showOptions{Format: "json"})
	if err != nil {
		t.Fatal(err)
	}
	var rows []struct {
		Key    string
		Value  any
		Origin string
	}
	if err := json.Unmarshal([]byte(got), &rows); err != nil || len(rows) != len(cli.DefaultConfig().Settings()) {
		t.Errorf("JSON of %d rows: %v", len(rows), err)
	}
	for _, r := range rows {
		if r.Value == nil || r.Origin == "" {
			t.Errorf("%+v", r)
		}
	}
	if _, err := show(showOptions{Keys: []string{"network.defalt"}}); err == nil {
		t.Error("an unknown key was shown")
	}
	if got, err := show(showOptions{Keys: []string{"network"}, Format: "{{.Key}}"}); err != nil || strings.Count(got, "network.") != 7 {
		t.Errorf("a table: %q, %v", got, err)
	}
}

func TestRuntimes(t *testing.T) {
	c := cli.DefaultConfig()
	c.Runtimes = map[string]cli.RuntimeConfig{"kata": {Path: "/opt/kata"}}
	installed := map[string]string{"crun": "/usr/bin/crun"}
	got := runtimes(c, func(name string) (string, error) {
		if p := installed[name]; p != "" {
			return p, nil
		}
		return "", errors.New("not found")
	})
	want := []runtimeInfo{{Name: "kata", Path: "/opt/kata"}, {Name: "runc", Default: true}, {Name: "crun", Path: "/usr/bin/crun"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestInfoText(t *testing.T) {
	file := filepath.Join(t.TempDir(), "os-release")
	if err := os.WriteFile(file, []byte("NAME=x\nPRETTY_NAME=\"Debian 12\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := infoReport{Host: hostOf("/"), Runtimes: []runtimeInfo{{Name: "runc", Default: true}}}
	r.Host.OS = osName(file)
	var out bytes.Buffer
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"System:         Debian 12", "runc:           not installed (default)", "conmon is not installed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if r.Host.CPUs == 0 || r.Host.MemTotal == 0 || r.Host.CgroupVersion == 0 || r.Host.Kernel == "" {
		t.Errorf("host %+v", r.Host)
	}
	if osName("/nonexistent") != "" {
		t.Error("an absent os-release has a name")
	}
}
