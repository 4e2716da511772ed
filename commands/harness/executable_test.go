package harness

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// What is written can be run, however many children others fork meanwhile.
func TestWriteExecutable(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 40 {
				path := filepath.Join(dir, strconv.Itoa(i)+"-"+strconv.Itoa(n))
				if err := WriteExecutable(path, "#!/bin/true\n"); err != nil {
					t.Error(err)
				}
				if err := exec.Command(path).Run(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
