package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCountCalls(t *testing.T) {
	text := `100 execve("/bin/davit", ["davit", "run"], 0x7ffd /* 20 vars */) = 0
101 execve("/usr/bin/conmon", ["conmon"], 0xc000 /* 3 vars */ <unfinished ...>
100 fsync(7</roots/root/containers/x/config.json>) = 0
101 <... execve resumed>) = 0
102 execve("/sbin/runc", ["runc"], 0xc000 /* 3 vars */) = -1 ENOENT (No such file or directory)
100 fdatasync(8</roots/root/storage/overlay-layers/layers.json> <unfinished ...>
102 execve("/usr/bin/runc", ["runc"], 0xc000 /* 3 vars */) = 0
100 <... fdatasync resumed>) = 0
100 fsync(9</elsewhere/root/x>) = -1 EINVAL (Invalid argument)
102 +++ exited with 0 +++
`
	want := counted{Execs: 3, Syncs: 2, Durable: 1, Names: []string{"davit", "conmon", "runc"}}
	if diff := cmp.Diff(want, countCalls(text, "/roots/root"), cmp.AllowUnexported(counted{})); diff != "" {
		t.Error(diff)
	}
}

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		name    string
		samples []float64
		q, want float64
	}{
		{"none", nil, 0.5, 0},
		{"odd", []float64{3, 1, 2}, 0.5, 2},
		{"even", []float64{4, 1, 2, 3}, 0.5, 2.5},
		{"greatest of few", []float64{1, 9, 2}, 0.99, 9},
	} {
		if got := quantile(tt.samples, tt.q); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
