package spec

import (
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func TestMergeProcess(t *testing.T) {
	image := ImageProcess{
		User: "app", Env: []string{"PATH=/usr/bin", "A=1", "EMPTY=", "broken", "HOST=$HOME"},
		Entrypoint: []string{"/entry"}, Cmd: []string{"serve"}, WorkingDir: "srv", StopSignal: "SIGQUIT",
	}
	tests := []struct {
		name    string
		image   ImageProcess
		o       Overrides
		want    Process
		wantErr string
	}{
		{
			name: "image alone", image: image,
			want: Process{
				Args: []string{"/entry", "serve"}, Env: []string{"PATH=/usr/bin", "A=1", "EMPTY=", "HOST=$HOME"},
				Cwd: "/srv", User: User{Ref: "app"}, StopSignal: "SIGQUIT",
			},
		},
		{
			name: "command replaces cmd", image: ImageProcess{Entrypoint: []string{"/e"}, Cmd: []string{"c"}},
			o:    Overrides{Command: []string{"x", "y"}},
			want: Process{Args: []string{"/e", "x", "y"}, Env: []string{"PATH=" + defaultPath}, Cwd: "/"},
		},
		{
			name: "entrypoint resets cmd", image: image, o: Overrides{Entrypoint: []string{"sh", "-c"}, User: "0", WorkingDir: "/a/../b", StopSignal: "9"},
			want: Process{
				Args: []string{"sh", "-c"}, Env: []string{"PATH=/usr/bin", "A=1", "EMPTY=", "HOST=$HOME"},
				Cwd: "/b", User: User{Ref: "0"}, StopSignal: "9",
			},
		},
		{
			name: "entrypoint and command", image: image, o: Overrides{Entrypoint: []string{"sh"}, Command: []string{"-c", "x"}, ClearEnv: true, WorkingDir: "/"},
			want: Process{Args: []string{"sh", "-c", "x"}, Env: []string{"PATH=" + defaultPath}, Cwd: "/", User: User{Ref: "app"}, StopSignal: "SIGQUIT"},
		},
		{
			name: "empty entrypoint leaves the command", image: ImageProcess{Entrypoint: []string{"/e"}, Cmd: []string{"c"}},
			o:    Overrides{Entrypoint: []string{""}, Command: []string{"x"}},
			want: Process{Args: []string{"x"}, Env: []string{"PATH=" + defaultPath}, Cwd: "/"},
		},
		{
			name: "empty entrypoint drops cmd", image: image, o: Overrides{Entrypoint: []string{}},
			wantErr: "no command given, and the image has none",
		},
		{name: "no command", wantErr: "no command given, and the image has none"},
		{name: "empty command", o: Overrides{Command: []string{""}}, wantErr: "the command to run is empty"},
		{name: "NUL", o: Overrides{Command: []string{"a\x00b"}}, wantErr: `argument "a\x00b" has a NUL byte`},
		{name: "NUL in image", image: ImageProcess{Cmd: []string{"x"}, Env: []string{"A=\x00"}}, wantErr: `the image's variable "A" has a NUL byte`},
		{name: "relative directory", image: image, o: Overrides{WorkingDir: "a"}, wantErr: `working directory "a" is not an absolute path`},
		{name: "directory with newline", image: ImageProcess{Cmd: []string{"x"}, WorkingDir: "/a\nb"}, wantErr: `working directory "/a\nb" has control characters`},
		{name: "bad variable", image: image, o: Overrides{Env: []string{"=x"}}, wantErr: `environment variable "=x" has no name: give KEY=value`},
		{
			name: "environment", image: ImageProcess{Cmd: []string{"x"}, Env: []string{"A=1", "B=2", "C=3"}},
			o: Overrides{Env: []string{"B=two", "D=4", "HOSTNAME=mine", "E"}, UnsetEnv: []string{"C", "container"}, Terminal: true, Hostname: "box", Container: "davit"},
			want: Process{
				Args: []string{"x"}, Cwd: "/", Terminal: true,
				Env: []string{"PATH=" + defaultPath, "A=1", "B=two", "D=4", "HOSTNAME=mine", "TERM=xterm"},
			},
		},
		{
			name: "defaults", image: ImageProcess{Cmd: []string{"x"}, Env: []string{"TERM=vt100"}},
			o: Overrides{Terminal: true, Hostname: "box", Container: "davit"},
			want: Process{
				Args: []string{"x"}, Cwd: "/", Terminal: true,
				Env: []string{"PATH=" + defaultPath, "TERM=vt100", "HOSTNAME=box", "container=davit"},
			},
		},
	}
	t.Setenv("HOME", "/leaked")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := MergeProcess(test.image, test.o)
			checkInvalid(t, err, test.wantErr)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// checkInvalid wants an error of class ErrInvalidArgument with this text, or
// none when that is empty.
func checkInvalid(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatalf("unexpected error: %v", err)
	case want == "":
	case err == nil:
		t.Fatalf("no error, want %q", want)
	case err.Error() != want:
		t.Errorf("error %q, want %q", err, want)
	case !errdefs.IsInvalidArgument(err):
		t.Errorf("error %q is not of class ErrInvalidArgument", err)
	}
}

func TestMergeKeepsArguments(t *testing.T) {
	entry := make([]string, 1, 8)
	entry[0] = "/e"
	one, err := MergeProcess(ImageProcess{Entrypoint: entry}, Overrides{Command: []string{"1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := MergeProcess(ImageProcess{Entrypoint: entry}, Overrides{Command: []string{"2"}}); err != nil {
		t.Fatal(err)
	}
	if one.Args[1] != "1" {
		t.Errorf("a second merge changed the first: %q", one.Args)
	}
}

func TestWithHome(t *testing.T) {
	base := Process{Env: make([]string, 0, 4)}
	a, b := base.WithHome("/a"), base.WithHome("")
	if diff := cmp.Diff([]string{"HOME=/a"}, a.Env); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"HOME=/"}, b.Env); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"HOME=/a"}, a.WithHome("/b").Env); diff != "" {
		t.Error(diff)
	}
}
