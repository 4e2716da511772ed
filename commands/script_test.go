//go:build rootful

package commands_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/davit-containers/davit/commands/harness"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts tells the stories of testdata/script, each with davit roots of
// its own, and with the leak check after it. A script finds the built davit in
// PATH and the registry's address in $REGISTRY; short names lead there.
//
// Beside testscript's own commands there are
//
//	code N davit ARG…     runs davit and wants exit code N
//	until REGEXP ARG…     runs davit until standard output matches, 15 s long
//	fetch URL             prints what a web server answers, asked for 5 s long
func TestScripts(t *testing.T) {
	stories, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(stories) == 0 {
		t.Fatalf("no stories found: %v", err)
	}
	bin, err := harness.Binary(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bin")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(bin, filepath.Join(path, "davit")); err != nil {
		t.Fatal(err)
	}
	registry := storyRegistry(t)
	for _, story := range stories {
		name := strings.TrimSuffix(filepath.Base(story), ".txtar")
		t.Run(name, func(t *testing.T) {
			roots := harness.TestRoots(t)
			if err := roots.TrustRegistry(registry.Addr); err != nil {
				t.Fatal(err)
			}
			testscript.Run(t, testscript.Params{
				Files:               []string{story},
				RequireExplicitExec: true,
				Setup: func(env *testscript.Env) error {
					davit := harness.Davit{Bin: bin, Roots: roots}
					env.Vars = append(env.Vars, roots.Env()...)
					env.Vars = append(env.Vars, "PATH="+path+":"+os.Getenv("PATH"), "REGISTRY="+registry.Addr,
						"ROOT="+roots.Root, "RUNROOT="+roots.RunRoot, "DAVIT="+bin, "TERM=xterm")
					env.Defer(func() { endAll(t, davit) })
					return nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"code": runForCode, "until": runUntil, "fetch": fetch,
				},
			})
		})
	}
}

// storyRegistry is the registry of all stories.
func storyRegistry(t *testing.T) *harness.Registry {
	t.Helper()
	registry := harness.TestRegistry(t, harness.RegistryConfig{})
	images := map[string]harness.ImageConfig{
		"busybox:latest": {},
		"layers:latest":  {Layers: 20},
		"web:latest": {Config: v1.Config{
			Entrypoint:   []string{"httpd"},
			Cmd:          []string{"-f", "-p", "80", "-h", "/var/www"},
			Env:          []string{"PATH=/bin:/usr/bin", "COLOUR=blue"},
			ExposedPorts: map[string]struct{}{"80/tcp": {}},
			WorkingDir:   "/var/www",
			StopSignal:   "SIGKILL",
			Labels:       map[string]string{"maker": "harness"},
		}},
		"checked:latest": {Config: v1.Config{
			Cmd:         []string{"sleep", "100"},
			Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "test", "-e", "/etc"}, Interval: time.Minute, Retries: 7},
		}},
		"odd:latest": {Config: v1.Config{
			Cmd:         []string{"sleep", "100"},
			StopSignal:  "BOGUS",
			Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "true"}, Interval: 1, Timeout: -1, Retries: -1},
		}},
	}
	for name, config := range images {
		img, err := harness.Busybox(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		if err := registry.Push(t.Context(), name, img); err != nil {
			t.Fatal(err)
		}
	}
	return registry
}

// endAll removes what a story left running, whether it passed or not: a story
// is about what it shows, and the leak check is about the engine.
func endAll(t *testing.T, davit harness.Davit) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, args := range [][]string{{"pod", "rm", "-f", "-a", "-t", "0"}, {"rm", "-f", "-a", "-t", "0"}} {
		r, err := davit.Run(ctx, args...)
		if err != nil || r.Code != 0 {
			t.Errorf("davit %s: exit code %d, %v\n%s", strings.Join(args, " "), r.Code, err, r.Stderr)
		}
	}
}

func runForCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	r := runStory(ts, args[1:])
	if r.Code != want {
		ts.Fatalf("exit code %d, want %d\n%s%s", r.Code, want, r.Stdout, r.Stderr)
	}
	print(ts, r)
}

func runUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP program ARG…")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	deadline := time.Now().Add(15 * time.Second)
	for {
		r := runStory(ts, args[1:])
		if want.MatchString(r.Stdout) {
			print(ts, r)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("standard output never matched %s; at last:\n%s%s", want, r.Stdout, r.Stderr)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: fetch URL")
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	deadline := time.Now().Add(5 * time.Second)
	for {
		resp, err := client.Get(args[0])
		if err == nil {
			_, err = io.Copy(ts.Stdout(), resp.Body)
			_ = resp.Body.Close()
		}
		switch {
		case neg && err == nil:
			ts.Fatalf("%s answers", args[0])
		case neg, err == nil:
			return
		case time.Now().After(deadline):
			ts.Fatalf("%v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
