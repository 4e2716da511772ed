package selinux

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// policy is a host with SELinux: it draws the levels s0:c0,c1, s0:c0,c2, … that are
// not in use or held.
type policy struct {
	off, empty bool
	held       []string
	files      map[string]string
	relabelled []string
}

func (p *policy) Enabled() bool { return !p.off }

func (p *policy) Init(options, inUse []string) (process, mount string, err error) {
	if p.empty {
		return "", "", nil
	}
	typ, lvl := "container_t", ""
	for _, o := range options {
		k, v, _ := strings.Cut(o, ":")
		switch k {
		case "disable":
			return "", "u:r:container_file_t:s0:c1022,c1023", nil
		case "type":
			typ = v
		case "level":
			lvl = v
		default:
			return "", "", errors.New("bad label option")
		}
	}
	for c := byte('1'); lvl == ""; c++ {
		try := "s0:c0,c" + string(c)
		taken := func(l string) bool { return strings.HasSuffix(l, ":"+try) }
		if !slices.ContainsFunc(inUse, taken) && !slices.ContainsFunc(p.held, taken) {
			lvl = try
		}
	}
	process, mount = "u:r:"+typ+":"+lvl, "u:r:container_file_t:"+lvl
	p.held = append(p.held, process)
	return process, mount, nil
}

func (p *policy) Release(l string) {
	p.held = slices.DeleteFunc(p.held, func(h string) bool { return h == l })
}

func (p *policy) FileLabel(path string) (string, error) { return p.files[path], nil }

func (p *policy) Relabel(path, l string) error {
	if path == "/etc" {
		return errors.New("not allowed")
	}
	p.relabelled = append(p.relabelled, path+" "+l)
	return nil
}

func TestPodLevels(t *testing.T) {
	p := &policy{}
	l := Labeller{p}
	inUse := func() []string { return []string{"u:r:container_t:s0:c0,c1"} }
	first, err := l.Pod(nil, inUse)
	if want := (Labels{"u:r:container_t:s0:c0,c2", "u:r:container_file_t:s0:c0,c2"}); first != want || err != nil {
		t.Errorf("%+v, error %v; want %+v", first, err, want)
	}
	// It is not on record yet, so that only the kernel's side knows of it.
	second, err := l.Pod(nil, inUse)
	if levelOf(second.Process) != "s0:c0,c3" || err != nil {
		t.Errorf("%+v, error %v", second, err)
	}
	l.Release(first)
	l.Release(second)
	if len(p.held) > 0 {
		t.Errorf("not released: %q", p.held)
	}
	named, err := l.Pod([]string{"type:web_t", "level:s0:c9"}, nil)
	if want := (Labels{"u:r:web_t:s0:c9", "u:r:container_file_t:s0:c9"}); named != want || err != nil {
		t.Errorf("%+v, error %v; want %+v", named, err, want)
	}
	if _, err := l.Pod([]string{"nested"}, inUse); !errdefs.IsInvalidArgument(err) {
		t.Errorf("an option that is none: %v", err)
	}
	if got, err := (Labeller{&policy{off: true}}).Pod([]string{"type:web_t"}, inUse); got != (Labels{}) || err != nil {
		t.Errorf("without SELinux: %+v, error %v", got, err)
	}
}

func TestContainerLabels(t *testing.T) {
	pod := Labels{"u:r:container_t:s0:c0,c7", "u:r:container_file_t:s0:c0,c7"}
	free := Labels{"", "u:r:container_file_t:s0:c1022,c1023"}
	for name, tt := range map[string]struct {
		options []string
		pod     Labels
		open    bool
		want    Labels
	}{
		"its pod's":               {nil, pod, false, pod},
		"its pod's level":         {[]string{"type:web_t"}, pod, false, Labels{"u:r:web_t:s0:c0,c7", pod.Mount}},
		"its own level":           {[]string{"level:s0:c3"}, pod, false, Labels{"u:r:container_t:s0:c3", "u:r:container_file_t:s0:c3"}},
		"disabled":                {[]string{"disable"}, pod, false, free},
		"of the host":             {nil, pod, true, free},
		"of the host, confined":   {[]string{"type:web_t"}, pod, true, Labels{"u:r:web_t:s0:c0,c7", pod.Mount}},
		"of a pod without labels": {nil, Labels{}, false, Labels{"u:r:container_t:s0:c0,c1", "u:r:container_file_t:s0:c0,c1"}},
	} {
		got, err := Labeller{&policy{}}.Container(tt.options, tt.pod, tt.open)
		if got != tt.want || err != nil {
			t.Errorf("%s: %+v, error %v; want %+v", name, got, err, tt.want)
		}
	}
	if _, err := (Labeller{&policy{empty: true}}).Container([]string{"type:web_t"}, Labels{}, false); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a policy without containers: %v", err)
	}
	if got, err := (Labeller{&policy{off: true}}).Container([]string{"type:web_t"}, pod, false); got != (Labels{}) || err != nil {
		t.Errorf("without SELinux: %+v, error %v", got, err)
	}
}

// What was asked for and cannot be enforced here is an error, never left out; and
// a runtime is never given a label that the host does not know.
func TestCheck(t *testing.T) {
	made := Labels{"u:r:container_t:s0:c1", "u:r:container_file_t:s0:c1"}
	for _, tt := range []struct {
		options []string
		off     bool
		made    Labels
		want    Labels
		refused bool
	}{
		{off: true},
		{off: true, made: made},
		{off: true, options: []string{"disable"}},
		{off: true, options: []string{"type:spc_t", "level:s0"}},
		{off: true, options: []string{"type:web_t"}, refused: true},
		{off: true, options: []string{"level:s0:c1,c2"}, made: made, refused: true},
		{made: made, want: made},
		{},
		{options: []string{"type:web_t"}, made: made, want: made},
		{options: []string{"type:web_t"}, refused: true},
		{options: []string{"disable"}, made: Labels{Mount: made.Mount}, want: Labels{Mount: made.Mount}},
	} {
		got, err := Labeller{&policy{off: tt.off}}.Check(tt.options, tt.made)
		if got != tt.want || (err != nil) != tt.refused || err != nil && !errdefs.IsFailedPrecondition(err) {
			t.Errorf("%+v: %+v, error %v", tt, got, err)
		}
	}
}

func TestRelabel(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	link, etc := filepath.Join(dir, "link"), filepath.Join(dir, "etc")
	if err := errors.Join(os.Symlink(dir, link), os.Symlink("/etc", etc)); err != nil {
		t.Fatal(err)
	}
	private, shared := "u:r:container_file_t:s0:c1,c2", "u:r:container_file_t:s0"
	for name, tt := range map[string]struct {
		path         string
		has          string
		shared, lazy bool
		off          bool
		want         []string
	}{
		"private":             {path: dir, want: []string{dir + " " + private}},
		"shared":              {path: dir, shared: true, want: []string{dir + " " + shared}},
		"through a link":      {path: link, want: []string{dir + " " + private}},
		"right, lazy":         {path: dir, has: private, lazy: true},
		"right, shared, lazy": {path: dir, has: shared, shared: true, lazy: true},
		"shared before, lazy": {path: dir, has: shared, lazy: true, want: []string{dir + " " + private}},
		"right":               {path: dir, has: private, want: []string{dir + " " + private}},
		"no SELinux":          {path: dir, off: true},
	} {
		p := &policy{off: tt.off, files: map[string]string{dir: tt.has}}
		if err := (Labeller{p}).Relabel(tt.path, private, tt.shared, tt.lazy); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tt.want, p.relabelled); diff != "" {
			t.Errorf("%s: -want +got\n%s", name, diff)
		}
	}
	if err := (Labeller{&policy{}}).Relabel(etc+"/", private, false, false); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a link to /etc: %v", err)
	}
}

func TestThisHost(t *testing.T) {
	if (host{}).Enabled() {
		t.Skip("this host has SELinux")
	}
	got, err := Labeller{}.Pod(nil, nil)
	if got != (Labels{}) || err != nil {
		t.Errorf("%+v, error %v", got, err)
	}
}
