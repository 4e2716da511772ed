package cli

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/img"
)

func TestNeedRoot(t *testing.T) {
	env := NewEnv(Streams{}, nil)
	env.Euid = 1000
	_, err := env.Engine(t.Context(), Images)
	if !errdefs.IsPermissionDenied(err) || strings.Contains(err.Error(), "\n") {
		t.Errorf("an unprivileged user gets %v", err)
	}
	if _, hint := Message(err); !strings.Contains(hint, "sudo") {
		t.Errorf("hint %q", hint)
	}
}

func TestGetenv(t *testing.T) {
	env := NewEnv(Streams{}, []string{"A=1", "B", "A=2", "AB=3"})
	for key, want := range map[string]string{"A": "2", "B": "", "AB": "3", "C": ""} {
		if got := env.Getenv(key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
}

func TestConfirm(t *testing.T) {
	env := NewEnv(Streams{In: strings.NewReader("y\n"), Err: &bytes.Buffer{}}, nil)
	yes, err := env.Confirm("All goes.", "--force")
	if _, hint := Message(err); yes || !strings.Contains(hint, "--force") {
		t.Errorf("without a terminal: %v, %v", yes, err)
	}
}

func TestTakeSignals(t *testing.T) {
	env := NewEnv(Streams{}, nil)
	calls := 0
	env.OnTakeSignals(func() { calls++ })
	env.TakeSignals()
	env.TakeSignals()
	if calls != 1 {
		t.Errorf("called %d times", calls)
	}
}

func TestCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(&SignalError{2})
	if err := Cause(ctx, errors.New("plain")); Code(err) != CodeFailed {
		t.Errorf("an error that did not come of it has code %d", Code(err))
	}
	if err := Cause(ctx, ctx.Err()); Code(err) != 130 {
		t.Errorf("code %d", Code(err))
	}
}

func TestArgs(t *testing.T) {
	cmd := &cobra.Command{Use: "tag IMAGE NAME..."}
	for _, tt := range []struct {
		least, most int
		args        []string
		want        string
	}{
		{1, 1, []string{"a"}, ""},
		{1, 1, nil, "an argument is missing"},
		{2, -1, []string{"a"}, "needs 2 arguments, got 1"},
		{2, -1, []string{"a", "b", "c"}, ""},
		{0, 0, []string{"a"}, `takes no arguments, got "a"`},
		{0, 1, []string{"a", "b"}, "takes 1 arguments at most, got 2"},
	} {
		err := Args(tt.least, tt.most)(cmd, tt.args)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want) {
			t.Errorf("Args(%d, %d) of %v: %v, want %q", tt.least, tt.most, tt.args, err, tt.want)
		}
	}
}

func TestFlagSections(t *testing.T) {
	cmd := &cobra.Command{Use: "x"}
	cmd.Flags().Bool("plain", false, "")
	FlagGroup(cmd.Flags(), "Network", func(fs *pflag.FlagSet) { fs.String("publish", "", ""); fs.String("dns", "", "") })
	FlagGroup(cmd.Flags(), "Storage", func(fs *pflag.FlagSet) { fs.String("volume", "", "") })
	FlagGroup(cmd.Flags(), "Network", func(fs *pflag.FlagSet) { fs.String("ip", "", "") })
	cmd.Flags().Bool("secret", false, "")
	_ = cmd.Flags().MarkHidden("secret")
	var got []string
	for _, s := range FlagSections(cmd) {
		var names []string
		for _, f := range s.Flags {
			names = append(names, f.Name)
		}
		got = append(got, s.Title+": "+strings.Join(names, " "))
	}
	want := "Options: plain|Network: publish dns ip|Storage: volume"
	if strings.Join(got, "|") != want {
		t.Errorf("got %s, want %s", strings.Join(got, "|"), want)
	}
}

func TestNames(t *testing.T) {
	complete := Names(func(context.Context) ([]string, error) { return []string{"web", "work", "db"}, nil })
	got, directive := complete(&cobra.Command{}, []string{"web"}, "w")
	if strings.Join(got, " ") != "work" || directive != cobra.ShellCompDirectiveNoFileComp {
		t.Errorf("%v, %v", got, directive)
	}
	got, _ = First(1, complete)(&cobra.Command{}, []string{"web"}, "")
	if len(got) != 0 {
		t.Errorf("a second argument is completed with %v", got)
	}
	got, _ = Names(func(context.Context) ([]string, error) { return nil, errors.New("no") })(&cobra.Command{}, nil, "")
	if len(got) != 0 {
		t.Errorf("an error completes %v", got)
	}
}

func TestProgressLines(t *testing.T) {
	var b bytes.Buffer
	env := NewEnv(Streams{Err: &b}, nil)
	tell := func(p *Progress) {
		p.Event(img.ProgressEvent{Kind: img.PullStarted, Ref: "host/a:1"})
		for _, k := range []img.ProgressKind{img.BlobStarted, img.BlobProgress, img.BlobDone} {
			p.Event(img.ProgressEvent{Kind: k, Digest: "sha256:0123456789abcdef", Offset: 5, Total: 10})
		}
		p.Event(img.ProgressEvent{Kind: img.PullDone, Ref: "host/a:1"})
		p.Close()
	}
	tell(env.Progress("Pulling", false))
	if b.String() != "Pulling host/a:1\n" {
		t.Errorf("without a terminal: %q", b.String())
	}
	b.Reset()
	tell(env.Progress("Pulling", true))
	if b.String() != "" {
		t.Errorf("quiet: %q", b.String())
	}
}

func TestProgressBars(t *testing.T) {
	var b bytes.Buffer
	p := &Progress{w: &b, verb: "Pulling", bars: true, width: 60, height: 6, now: time.Now}
	p.Event(img.ProgressEvent{Kind: img.PullStarted, Ref: "host/a:1"})
	p.Event(img.ProgressEvent{Kind: img.BlobSkipped, Digest: "sha256:aaaaaaaaaaaaaaaa"})
	p.Event(img.ProgressEvent{Kind: img.BlobStarted, Digest: "sha256:bbbbbbbbbbbbbbbb", Total: 2000000})
	p.Event(img.ProgressEvent{Kind: img.BlobProgress, Digest: "sha256:bbbbbbbbbbbbbbbb", Offset: 1000000, Total: 2000000})
	p.Event(img.ProgressEvent{Kind: img.BlobStarted, Digest: "sha256:cccccccccccccccc", Total: -1, Config: true})
	lines := p.lines()
	want := []string{
		"aaaaaaaaaaaa  here already",
		"bbbbbbbbbbbb  [===============                ]  1 MB / 2 MB",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	for i := range 20 {
		p.Event(img.ProgressEvent{Kind: img.BlobStarted, Digest: "sha256:" + strings.Repeat(string(rune('a'+i)), 12) + "x", Total: 5})
	}
	if n := len(p.lines()); n > 4 {
		t.Errorf("%d lines on a terminal of 6", n)
	}
	for _, l := range p.lines() {
		if len(l) > 60 {
			t.Errorf("%q is wider than the terminal", l)
		}
	}
	p.Close()
	if p.drawn != 0 {
		t.Error("the bars go on after Close")
	}
}

func TestWants(t *testing.T) {
	env := NewEnv(Streams{}, nil)
	if !env.Wants("run") {
		t.Error("without a command line not everything is wanted")
	}
	env.Args = []string{"--log-level", "debug", "container", "run", "x"}
	for name, want := range map[string]bool{"run": true, "container": true, "create": false} {
		if env.Wants(name) != want {
			t.Errorf("Wants(%q) = %v", name, !want)
		}
	}
	if !env.Wants("create", "run") {
		t.Error("one of two names is not enough")
	}
	env.Args = []string{}
	if env.Wants("run") {
		t.Error("an empty command line wants run")
	}
}

// A process that is brief until its first collection is like any other after it,
// and one that stays is not made one.
func TestBrief(t *testing.T) {
	was := debug.SetGCPercent(usualGC)
	defer debug.SetGCPercent(was)
	percent := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	e := NewEnv(Streams{}, nil)
	Brief(e)
	if got := percent(); got != briefGC {
		t.Errorf("it begins with %d %%, want %d", got, briefGC)
	}
	deadline := time.Now().Add(10 * time.Second)
	for percent() != usualGC {
		if time.Now().After(deadline) {
			t.Fatalf("after a collection it has %d %%, want %d", percent(), usualGC)
		}
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	e = NewEnv(Streams{}, nil)
	Brief(e)
	e.Stay()
	ended := make(chan struct{})
	runtime.AddCleanup(new(*Env), func(c chan struct{}) { close(c) }, ended)
	runtime.GC()
	<-ended // cleanups run in no order: what would change it had as long
	time.Sleep(50 * time.Millisecond)
	if got := percent(); got != stayGC {
		t.Errorf("one that stays has %d %%, want %d", got, stayGC)
	}
}
