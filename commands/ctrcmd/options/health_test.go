package options

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/davit-containers/davit/ctr"
)

// Without a flag the image's check is the container's.
func TestNoHealth(t *testing.T) {
	var c ctr.Config
	if err := new(Health).Fill(&c); err != nil || c.Health != nil {
		t.Errorf("%+v, %v", c.Health, err)
	}
}

func TestHealth(t *testing.T) {
	for _, tt := range []struct {
		name    string
		o       Health
		remove  bool
		want    ctr.Health
		wantErr bool
	}{
		{name: "retries alone", o: Health{Retries: 2}, want: ctr.Health{Retries: 2}},
		{name: "a line", o: Health{Command: "wget -q localhost || exit 1"}, want: ctr.Health{Test: []string{"CMD-SHELL", "wget -q localhost || exit 1"}}},
		{name: "words", o: Health{Command: `["CMD", "test", "-e", "/a b"]`}, want: ctr.Health{Test: []string{"CMD", "test", "-e", "/a b"}}},
		{name: "words without a kind", o: Health{Command: `["test", "-e", "/a b"]`}, want: ctr.Health{Test: []string{"CMD", "test", "-e", "/a b"}}},
		{name: "a line in an array", o: Health{Command: `["cmd-shell", "exit 1"]`}, want: ctr.Health{Test: []string{"CMD-SHELL", "exit 1"}}},
		{name: "as Dockerfiles have it", o: Health{Command: `CMD test -e /a`}, want: ctr.Health{Test: []string{"CMD", "test", "-e", "/a"}}},
		{name: "the shell's test", o: Health{Command: `[ -e /a ]`}, want: ctr.Health{Test: []string{"CMD-SHELL", "[ -e /a ]"}}},
		{name: "none", o: Health{Command: "none"}, want: ctr.Health{Test: []string{"NONE"}}},
		{name: "off", o: Health{Off: true}, want: ctr.Health{Test: []string{"NONE"}}},
		{name: "off and a command", o: Health{Off: true, Command: "true"}, wantErr: true},
		{name: "an empty array", o: Health{Command: "[]"}, wantErr: true},
		{name: "a kind alone", o: Health{Command: `["CMD"]`}, wantErr: true},
		{name: "all", o: Health{Command: "true", Interval: "1m", Timeout: "5", StartPeriod: "100ms", Retries: 2, OnFailure: "Kill"}, want: ctr.Health{
			Test: []string{"CMD-SHELL", "true"}, Interval: time.Minute, Timeout: 5 * time.Second, StartPeriod: 100 * time.Millisecond, Retries: 2, OnFailure: "kill",
		}},
		{name: "by hand", o: Health{Interval: "disable"}, want: ctr.Health{Interval: -1}},
		{name: "no time", o: Health{Interval: "often"}, wantErr: true},
		{name: "a time before", o: Health{Timeout: "-1s"}, wantErr: true},
		{name: "no start period", o: Health{StartPeriod: "0"}},
		{name: "no start period, with a unit", o: Health{StartPeriod: "0s"}},
		{name: "a start period before", o: Health{StartPeriod: "-1s"}, wantErr: true},
		{name: "by hand, as no time", o: Health{Interval: "0s"}, want: ctr.Health{Interval: -1}},
		{name: "no timeout", o: Health{Timeout: "0s"}, wantErr: true},
		{name: "fewer than none", o: Health{Retries: -1}, wantErr: true},
		{name: "no action", o: Health{OnFailure: "panic"}, wantErr: true},
		{name: "restart what is gone", o: Health{OnFailure: "restart"}, remove: true, wantErr: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := ctr.Config{Remove: tt.remove}
			err := tt.o.Fill(&c)
			if (err != nil) != tt.wantErr {
				t.Fatalf("error %v", err)
			}
			if err == nil {
				if d := cmp.Diff(tt.want, *c.Health); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
			}
		})
	}
}
