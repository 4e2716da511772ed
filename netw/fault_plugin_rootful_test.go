//go:build rootful

package netw

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/davit-containers/davit/netw/netns"
	"github.com/davit-containers/davit/netw/plugin"
)

// addFails has an ADD fail with an error of that class and text, be undone, and be
// tried again with a plugin that works.
func addFails(t *testing.T, script string, want error, text string) {
	t.Helper()
	f := newFakes(t, map[string]string{"bridge": "[ $CNI_COMMAND = ADD ] || real; " + script})
	w := newWorld(t, f.network, func(c *Config) { c.PluginTimeout = 2 * time.Second })
	s := w.sandbox("one")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errEndless)
	defer cancel()
	_, err := w.Attach(ctx, s.request("8080:80"))
	if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		t.Fatalf("got %v, want %q", err, text)
	}
	if got := f.calls(); got[len(got)-1] != "bridge DEL eth0 ns" {
		t.Errorf("calls: %q", got)
	}
	if _, err := readIntent(s.dir); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("record left: %v", err)
	}
	f.set("bridge", "real")
	s.attach(s.request("8080:80"))
}

// errEndless is why the wait for a plugin ends that nobody else ends.
var errEndless = errors.New("the plugin has no end")

// A plugin that fails after it has done its work has that undone.
func TestF17AddFails(t *testing.T) {
	for name, script := range map[string]string{"at once": "", "after its work": pluginDir + "/bridge >/dev/null; "} {
		t.Run(name, func(t *testing.T) { addFails(t, script+"echo no luck >&2; exit 1", nil, "no luck") })
	}
}

// A plugin that hangs, or whose children do, is killed with them at its deadline,
// and can be called again.
func TestF18PluginHangs(t *testing.T) {
	t.Run("ADD", func(t *testing.T) {
		addFails(t, "sleep 4719 & sleep 4719", context.DeadlineExceeded, "did not finish")
		noProcess(t, "sleep 4719")
	})
	t.Run("ADD after its work", func(t *testing.T) {
		addFails(t, pluginDir+"/bridge; sleep 4719", context.DeadlineExceeded, "did not finish")
		noProcess(t, "sleep 4719")
	})
	for name, script := range map[string]string{"DEL": "", "DEL after its work": pluginDir + "/bridge; "} {
		t.Run(name, func(t *testing.T) {
			f := newFakes(t, map[string]string{"bridge": "[ $CNI_COMMAND = DEL ] || real; " + script + "sleep 4719"})
			w := newWorld(t, f.network, func(c *Config) { c.PluginTimeout = time.Second })
			s := w.sandbox("one")
			if _, err := w.Attach(t.Context(), s.request("8080:80")); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				began := time.Now()
				ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errEndless)
				if err := w.Detach(ctx, Request{ID: s.id, Dir: s.dir}); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				cancel()
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("took %s", took)
				}
				noProcess(t, "sleep 4719")
				if _, err := readIntent(s.dir); err != nil {
					t.Errorf("it is not on record any more: %v", err)
				}
			}
			f.set("bridge", "real")
			s.detach()
		})
	}
}

// What a plugin writes is read up to a bound, and what is no answer undone.
func TestF19PluginWritesNoAnswer(t *testing.T) {
	for name, x := range map[string]struct {
		script string
		want   error
		text   string
	}{
		"nothing":             {text: "unexpected end of JSON"},
		"garbage":             {script: "echo '{{{'", text: "invalid character"},
		"works, then garbage": {script: pluginDir + "/bridge; echo '}'", text: "invalid character"},
		"100 MB":              {script: "head -c 100000000 /dev/zero; sleep 4719", want: errdefs.ErrResourceExhausted, text: "wrote more than"},
		"100 MB of errors":    {script: "head -c 100000000 /dev/zero >&2; exit 3", text: "exit status 3"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			addFails(t, x.script, x.want, x.text)
			runtime.ReadMemStats(&after)
			if took := after.TotalAlloc - before.TotalAlloc; took > 32<<20 {
				t.Errorf("%d bytes were allocated", took)
			}
			noProcess(t, "sleep 4719")
		})
	}
}

// noProcess waits until no process has that command line.
func noProcess(t *testing.T, command string) {
	t.Helper()
	for range 500 {
		if exec.Command("pgrep", "-fx", command).Run() != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("somebody runs %s", command)
}

// A network that cannot be left stays on record until it can.
func TestF20DelFails(t *testing.T) {
	f := newFakes(t, map[string]string{"bridge": "[ $CNI_COMMAND = DEL ] || real; echo '{\"code\":7,\"msg\":\"stuck\"}'; exit 1"})
	w := newWorld(t, f.network)
	s := w.sandbox("one")
	if _, err := w.Attach(t.Context(), s.request("8080:80")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := w.Detach(t.Context(), Request{ID: s.id, Dir: s.dir, PinDir: s.pinDir()})
		var perr *plugin.Error
		if !errors.As(err, &perr) || perr.Code != 7 || perr.Message != "stuck" {
			t.Fatalf("got %v", err)
		}
		if pinned, err := netns.Pin(s.pins.Net); !pinned || err != nil {
			t.Errorf("its namespace, where the plugin may have something, is not pinned any more: %v", err)
		}
		if elements, err := w.table.Elements(); err != nil || len(elements) != 0 {
			t.Errorf("ports still published: %v, %v", elements, err)
		}
	}
	two := w.sandbox("two")
	if _, err := w.Attach(t.Context(), two.request()); !errors.Is(err, errdefs.ErrResourceExhausted) {
		t.Errorf("the only address was given out again: %v", err)
	}
	var inUse *InUseError
	if err := w.Teardown(t.Context()); !errors.As(err, &inUse) || inUse.Sandboxes[0] != "pod-one" {
		t.Errorf("teardown: %v", err)
	}
	f.set("bridge", "real")
	if err := w.Detach(t.Context(), Request{ID: s.id, Dir: s.dir}); err != nil {
		t.Error(err)
	}
	if err := w.Detach(t.Context(), Request{ID: two.id, Dir: two.dir}); err != nil {
		t.Error(err)
	}
	two.attach(two.request())
}

// A range that is full is said to be, by its name, and given out again once an
// address is free.
func TestF23RangeFull(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Subnet = "10.99.2.0/29" })
	for i := range 5 {
		s := w.sandbox(fmt.Sprint("s", i))
		s.attach(s.request())
	}
	last := w.sandbox("last")
	_, err := w.Attach(t.Context(), last.request())
	if !errors.Is(err, errdefs.ErrResourceExhausted) || !strings.Contains(err.Error(), "no free address in 10.99.2.0/29") {
		t.Fatalf("got %v", err)
	}
	first := &sandbox{w: w, id: "s0", dir: filepath.Join(w.runs, "s0")}
	first.detach()
	last.attach(last.request())
}

// chained is a network of three plugins, of which the one that is told to fails.
func chained(t *testing.T) (w *world, f *fakes, file string) {
	t.Helper()
	const script = `cat > "$0.$CNI_COMMAND"
[ $CNI_COMMAND = ADD ] && [ -e "$0.fails" ] && { echo '{"code":100,"msg":"as told"}'; exit 1; }
[ $CNI_COMMAND != ADD ] || echo '{"cniVersion":"1.0.0","interfaces":[],"ips":[]}'`
	f = newFakes(t, map[string]string{"p0": script, "p1": script, "p2": script})
	conf := filepath.Join(t.TempDir(), "net.d")
	if err := os.Mkdir(conf, 0o755); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(conf, "10-chain.conflist")
	list := `{"cniVersion":"1.0.0","name":"chain","plugins":[{"type":"p0","mark":"old"},{"type":"p1"},{"type":"p2"}]}`
	if err := os.WriteFile(file, []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	return newWorld(t, f.first, func(c *Config) { c.ConfDir = conf }), f, file
}

// Whichever plugin of a chain fails, DEL is called over all of it, backwards, and
// nothing stays on record.
func TestF17AddFailsInAChain(t *testing.T) {
	w, f, _ := chained(t)
	for k := range 3 {
		s := w.sandbox(fmt.Sprint("s", k))
		r := s.request()
		r.Networks = []Ref{{Name: "chain", IfName: "net7"}}
		fails := filepath.Join(f.dir, fmt.Sprintf("p%d.fails", k))
		if err := os.WriteFile(fails, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Attach(t.Context(), r); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("CNI plugin p%d ADD: as told", k)) {
			t.Errorf("plugin %d: %v", k, err)
		}
		want := []string{"p0 ADD net7 ns", "p1 ADD net7 ns", "p2 ADD net7 ns"}[:k+1]
		want = append(want, "p2 DEL net7 ns", "p1 DEL net7 ns", "p0 DEL net7 ns")
		if got := f.calls(); !slices.Equal(got, want) {
			t.Errorf("plugin %d: called %q, want %q", k, got, want)
		}
		if _, err := readIntent(s.dir); !errors.Is(err, errdefs.ErrNotFound) {
			t.Errorf("plugin %d: record left: %v", k, err)
		}
		if err := os.Remove(fails); err != nil {
			t.Fatal(err)
		}
		s.attach(r) // it can be tried again
		f.calls()
	}
}

// DEL is given the configuration that ADD was, whatever became of it meanwhile.
func TestF22ConfigurationChanges(t *testing.T) {
	changes := map[string]func(file string) error{
		"changed": func(file string) error {
			return os.WriteFile(file, []byte(`{"cniVersion":"1.0.0","name":"chain","plugins":[{"type":"p0","mark":"new"}]}`), 0o644)
		},
		"renamed": func(file string) error {
			return os.WriteFile(file, []byte(`{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"p1"}]}`), 0o644)
		},
		"garbage":   func(file string) error { return os.WriteFile(file, []byte("{"), 0o644) },
		"removed":   os.Remove,
		"no folder": func(file string) error { return os.RemoveAll(filepath.Dir(file)) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			w, f, file := chained(t)
			s := w.sandbox("one")
			r := s.request()
			r.Networks = []Ref{{Name: "chain", IfName: "net7"}}
			if _, err := w.Attach(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			f.calls()
			if err := change(file); err != nil {
				t.Fatal(err)
			}
			if err := w.Detach(t.Context(), Request{ID: s.id, Dir: s.dir}); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(f.calls(), ", "); got != "p2 DEL net7 ns, p1 DEL net7 ns, p0 DEL net7 ns" {
				t.Errorf("called: %s", got)
			}
			if b, err := os.ReadFile(filepath.Join(f.dir, "p0.DEL")); err != nil || !strings.Contains(string(b), `"mark":"old"`) {
				t.Errorf("DEL got %s, %v", b, err)
			}
		})
	}
}
