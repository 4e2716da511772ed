//go:build rootful

package monitor_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/davit-containers/davit/ctr/monitor"
)

func TestOutputExitCodeAndLog(t *testing.T) {
	runtimes(t, func(t *testing.T, r *rig) {
		c := r.create(r.spec("sh", "-c", "echo out; echo err >&2; exit 7"), nil)
		a := c.attach()
		c.start()
		var out, errs bytes.Buffer
		if err := a.Copy(c.ctx(20*time.Second), monitor.Output{Stdout: &out, Stderr: &errs}); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		e := c.wait()
		if e.Code != 7 || e.OOM || e.Lost || before.Sub(e.Finished).Abs() > 5*time.Second {
			t.Errorf("Wait = %+v", e)
		}
		if out.String() != "out\n" || errs.String() != "err\n" {
			t.Errorf("out %q, err %q", out.String(), errs.String())
		}
		log, err := os.ReadFile(c.cfg.Paths.Log)
		if err != nil || !strings.Contains(string(log), " stdout F out\n") || !strings.Contains(string(log), " stderr F err\n") {
			t.Errorf("log %q, %v", log, err)
		}
	})
}
