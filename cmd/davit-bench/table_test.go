package main

import (
	"strings"
	"testing"

	"github.com/davit-containers/davit/cmd/davit-bench/rounds"
)

func TestTables(t *testing.T) {
	t.Parallel()
	res := func(group, name, subject, runtime string, unit rounds.Unit, v float64) rounds.Result {
		return rounds.Result{Group: group, Case: name, Unit: unit, Subject: subject, Runtime: runtime, Samples: []float64{v}}
	}
	r := &report{Machine: "a machine", Results: []rounds.Result{
		res("run", "none", "runc alone", "runc", rounds.Milliseconds, 20),
		res("run", "none", "podman, runc", "runc", rounds.Milliseconds, 150),
		res("run", "none", "davit, runc", "runc", rounds.Milliseconds, 50.04),
		res("run", "none", "podman, crun", "crun", rounds.Milliseconds, 90),
		res("run", "none", "davit, crun", "crun", rounds.Milliseconds, 30),
		res("exec", "per second", "davit", "", rounds.PerSecond, 300),
		res("exec", "per second", "containerd", "", rounds.PerSecond, 100),
	}}
	var out strings.Builder
	r.tables(&out)
	want := `
| run | runtime | unit | davit | podman | runtime alone |
|---|---|---|---|---|---|
| none | runc | ms | 50.0 | 150 3.00× | 20.0 0.40× |
| none | crun | ms | 30.0 | 90.0 3.00× |  |

| exec | runtime | unit | davit | containerd |
|---|---|---|---|---|
| per second |  | /s | 300 | 100 3.00× |
`
	if _, got, _ := strings.Cut(out.String(), ".\n.\n"); got != want {
		t.Errorf("tables:\n%s\nwant:\n%s", out.String(), want)
	}
}
