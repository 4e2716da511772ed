package volcmd

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr/volume"
)

func TestCreateFlags(t *testing.T) {
	tests := []struct {
		name   string
		labels []string
		args   []string
		want   volume.Config
		bad    bool
	}{
		{name: "nothing"},
		{name: "name and labels", labels: []string{"a=b", "c"}, args: []string{"data"}, want: volume.Config{Name: "data", Labels: map[string]string{"a": "b", "c": ""}}},
		{name: "bad name", args: []string{"a/b"}, bad: true},
		{name: "bad label", labels: []string{"=x"}, bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := (&createOptions{Labels: tt.labels}).parse(tt.args)
			if (err != nil) != tt.bad {
				t.Fatalf("error %v", err)
			}
			if tt.bad {
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMatcher(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	v := volume.Volume{Name: "data", Created: now.Add(-2 * time.Hour), Labels: map[string]string{"app": "shop"}}
	tests := []struct {
		args []string
		used []string
		want bool
		bad  bool
	}{
		{want: true},
		{args: []string{"name=dat"}, want: true},
		{args: []string{"name=^at"}},
		{args: []string{"dangling=true"}, want: true},
		{args: []string{"dangling=true"}, used: []string{"web"}},
		{args: []string{"dangling=false"}, used: []string{"web"}, want: true},
		{args: []string{"anonymous=true"}},
		{args: []string{"label=app=shop"}, want: true},
		{args: []string{"label!=app"}},
		{args: []string{"until=1h"}, want: true},
		{args: []string{"until=3h"}},
		{args: []string{"dangling=x"}, bad: true},
		{args: []string{"until=x"}, bad: true},
	}
	for _, tt := range tests {
		f, err := cli.ParseFilters(tt.args, filterKeys()...)
		if err != nil {
			t.Fatal(err)
		}
		match, err := matcher(f, now)
		if (err != nil) != tt.bad {
			t.Fatalf("%v: %v", tt.args, err)
		}
		if !tt.bad && match(v, tt.used) != tt.want {
			t.Errorf("%v, used by %v: want %v", tt.args, tt.used, tt.want)
		}
	}
}

func TestOutput(t *testing.T) {
	v := volume.Volume{Name: "data", Path: "/v/data/_data", Labels: map[string]string{"b": "1", "a": ""}}
	for format, want := range map[string]string{
		"":                                    "DRIVER  VOLUME NAME\nlocal   data\n",
		"{{.Mountpoint}} {{.Labels}}":         "/v/data/_data a=,b=1\n",
		"table {{.Name}}\\t{{.Anonymous}}":    "VOLUME NAME  ANONYMOUS\ndata         false\n",
		"{{range .Containers}}{{.}} {{end}}x": "web x\n",
	} {
		o := listOptions{Format: format}
		if err := o.check(); err != nil {
			t.Fatal(err)
		}
		var buf bytes.Buffer
		if err := o.output().Print(&buf, []Row{row(v, []string{"web"})}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, buf.String()); diff != "" {
			t.Errorf("%q: %s", format, diff)
		}
	}
	var buf bytes.Buffer
	if err := (cli.Output[Row]{Format: "json"}).Print(&buf, []Row{row(volume.Volume{Name: "x"}, nil)}); err != nil {
		t.Fatal(err)
	}
	want := `[
  {
    "Name": "x",
    "Driver": "local",
    "Mountpoint": "",
    "CreatedAt": "",
    "Labels": {},
    "Anonymous": false,
    "Containers": []
  }
]
`
	if diff := cmp.Diff(want, buf.String()); diff != "" {
		t.Error(diff)
	}
}
