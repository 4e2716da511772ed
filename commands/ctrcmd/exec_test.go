package ctrcmd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/commands/ctrcmd/options"
	"github.com/davit-containers/davit/ctr"
)

func TestExecFlags(t *testing.T) {
	h := options.Host{Environ: []string{"A=1", "AB=2"}, Config: cli.DefaultConfig()}
	for _, tt := range []struct {
		name    string
		o       execOptions
		args    []string
		want    ctr.Exec
		left    []string
		wantErr string
	}{
		{name: "plain", args: []string{"web", "ls", "-l"}, want: ctr.Exec{Args: []string{"ls", "-l"}}, left: []string{"web"}},
		{name: "the latest", o: execOptions{Latest: true}, args: []string{"ls"}, want: ctr.Exec{Args: []string{"ls"}}},
		{name: "a terminal", o: execOptions{TTY: true, Interactive: true}, args: []string{"web", "sh"},
			want: ctr.Exec{Args: []string{"sh"}, Terminal: true}, left: []string{"web"}},
		{name: "a terminal in the background", o: execOptions{TTY: true, Interactive: true, Detach: true}, args: []string{"web", "sh"},
			want: ctr.Exec{Args: []string{"sh"}, Detach: true}, left: []string{"web"}},
		{name: "variables", o: execOptions{Env: []string{"A*", "A=3"}}, args: []string{"web", "sh"},
			want: ctr.Exec{Args: []string{"sh"}, Env: []string{"A=1", "AB=2", "A=3"}}, left: []string{"web"}},
		{name: "no command", args: []string{"web"}, wantErr: "a container or a command is missing"},
		{name: "a relative folder", o: execOptions{WorkDir: "x"}, args: []string{"web", "sh"}, wantErr: "--workdir: "},
		{name: "a bad user", o: execOptions{User: ":"}, args: []string{"web", "sh"}, wantErr: "--user: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			got, err := tt.o.exec(h, &args)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Errorf("error %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if strings.Join(args, " ") != strings.Join(tt.left, " ") {
				t.Errorf("%q are left", args)
			}
		})
	}
}
