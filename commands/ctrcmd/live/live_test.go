package live

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
)

func TestRow(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c := ctr.Container{ID: strings.Repeat("a", 64), Config: ctr.Config{Name: "web"}, Status: ctr.Status{StartedAt: start}}
	m := &meter{memory: 1000, last: map[string]sample{}}
	at := func(sec int, n Counters) Row {
		return m.row(c, sample{at: start.Add(time.Duration(sec) * time.Second), counters: n})
	}
	first := at(10, Counters{CPUNanos: 5e9, MemBytes: 250, NetInput: 1500, Pids: 3})
	want := Row{
		ID: "aaaaaaaaaaaa", Name: "web", CPUPerc: "50.00%", AvgCPU: "50.00%", MemPerc: "25.00%", MemUsage: "250 B / 1 kB",
		NetIO: "1.5 kB / 0 B", BlockIO: "0 B / 0 B", PIDS: "3", CPUTime: "5s", CPU: 50, Mem: 25,
		Counters: Counters{CPUNanos: 5e9, MemBytes: 250, MemLimit: 1000, NetInput: 1500, Pids: 3},
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Errorf("first round: %s", diff)
	}
	if second := at(12, Counters{CPUNanos: 6e9, MemLimit: 500}); second.CPU != 50 || second.AvgCPU != "50.00%" || second.MemLimit != 500 {
		t.Errorf("second round: %+v", second)
	}
	if third := at(14, Counters{CPUNanos: 6e9, MemLimit: 1 << 60}); third.CPU != 0 || third.MemLimit != 1000 {
		t.Errorf("third round: %+v", third)
	}
	// A restart counts anew.
	if again := at(15, Counters{CPUNanos: 1e6}); again.CPU < 0 {
		t.Errorf("after a restart: %+v", again)
	}
	if r := idle(c); r.CPUPerc != "--" || r.Name != "web" {
		t.Errorf("idle: %+v", r)
	}
	out := cli.Output[Row]{Table: Table, Headings: Headings()}
	var buf bytes.Buffer
	if err := out.Print(&buf, []Row{first}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(strings.SplitN(buf.String(), "\n", 2)[0]); strings.Join(got, " ") != "ID NAME CPU % MEM USAGE / LIMIT MEM % NET IO BLOCK IO PIDS" {
		t.Errorf("headings %q", got)
	}
}

func TestInterval(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want time.Duration
		bad  bool
	}{
		{want: time.Second},
		{args: []string{"-i", "5"}, want: 5 * time.Second},
		{args: []string{"--interval", "250ms"}, want: 250 * time.Millisecond},
		{args: []string{"--interval=0"}, bad: true},
		{args: []string{"-i", "-1"}, bad: true},
		{args: []string{"-i", "often"}, bad: true},
	} {
		var o StatsOptions
		fs := pflag.NewFlagSet("stats", pflag.ContinueOnError)
		o.Flags(fs)
		err := fs.Parse(tt.args)
		if err == nil {
			err = o.Check()
		}
		if (err != nil) != tt.bad || !tt.bad && o.Interval != tt.want {
			t.Errorf("%v: %v, %v", tt.args, o.Interval, err)
		}
	}
}

func TestParseNetDev(t *testing.T) {
	in, out := parseNetDev([]byte(`Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     999       1    0    0    0     0          0         0      999       1    0    0    0     0       0          0
  eth0:     100       1    0    0    0     0          0         0       10       1    0    0    0     0       0          0
  eth1:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0
`))
	if in != 101 || out != 12 {
		t.Errorf("= %d, %d", in, out)
	}
}

func TestLineWriter(t *testing.T) {
	tests := []struct {
		name, prefix string
		writes       []string
		want         string
	}{
		{"whole lines", "web ", []string{"a\nb\n"}, "web a\nweb b\n"},
		{"in pieces", "web ", []string{"a", "b\nc", "\n"}, "web ab\nweb c\n"},
		{"without an end", "web ", []string{"a\nb"}, "web a\nweb b\n"},
		{"empty lines", "", []string{"\n\n"}, "\n\n"},
		{"nothing", "web ", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var buf bytes.Buffer
			w := &lineWriter{w: &buf, mu: &sync.Mutex{}, prefix: tt.prefix}
			for _, s := range tt.writes {
				if n, err := io.WriteString(w, s); n != len(s) || err != nil {
					t.Fatalf("= %d, %v", n, err)
				}
			}
			if err := w.flush(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, buf.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
	full := errors.New("disk full")
	w := &lineWriter{w: failing{full}, mu: &sync.Mutex{}}
	if _, err := io.WriteString(w, "x\n"); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	var buf bytes.Buffer
	long := &lineWriter{w: &buf, mu: &sync.Mutex{}}
	if _, err := long.Write(make([]byte, 3*maxLine)); err != nil || len(long.rest) > maxLine {
		t.Errorf("a line without an end keeps %d bytes, %v", len(long.rest), err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestLogOptions(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	env := cli.NewEnv(cli.Streams{}, nil)
	env.Now = func() time.Time { return now }
	zero := 0
	tests := []struct {
		name string
		o    LogOptions
		want func(o *ctr.LogOptions)
		bad  bool
	}{
		{name: "all", o: LogOptions{Tail: "all"}, want: func(*ctr.LogOptions) {}},
		{name: "-1", o: LogOptions{Tail: "-1"}, want: func(*ctr.LogOptions) {}},
		{name: "none", o: LogOptions{Tail: "0", Follow: true, Timestamps: true}, want: func(o *ctr.LogOptions) {
			o.Tail, o.Follow, o.Timestamps = &zero, true, true
		}},
		{name: "times", o: LogOptions{Tail: "all", Since: "1h", Until: "2026-01-01T11:30:00Z"}, want: func(o *ctr.LogOptions) {
			o.Since, o.Until = now.Add(-time.Hour), now.Add(-30*time.Minute)
		}},
		{name: "bad tail", o: LogOptions{Tail: "x"}, bad: true},
		{name: "bad since", o: LogOptions{Tail: "all", Since: "x"}, bad: true},
		{name: "bad until", o: LogOptions{Tail: "all", Until: "x"}, bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.o.Parse(env)
			if (err != nil) != tt.bad {
				t.Fatalf("error %v", err)
			}
			if tt.bad {
				return
			}
			var want ctr.LogOptions
			tt.want(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
