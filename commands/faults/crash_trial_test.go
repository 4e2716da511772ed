//go:build (faults || faultslong) && amd64

package faults

import (
	"os"
	"path/filepath"
	"strings"
)

// tryouts are operations in which a davit, the first one after a boot that opens the
// store, or mounts of it, tries out what the storage driver can do.
func tryouts() []operation {
	return []operation{
		{name: "the first images", ready: forget, do: cli("images"), clear: none},
		{name: "the first cp", ready: func(r *rig) { sound(makePod, makeInPod)(r); forget(r) }, do: cli("cp", "/etc/hostname", "c:/copied"),
			clear: sound(clearOwn, clearPod)},
	}
}

// forget has the storage driver know nothing any more, as after a boot.
func forget(r *rig) {
	r.t.Helper()
	known, err := filepath.Glob(filepath.Join(r.Roots.RunRoot, "storage", "overlay", "*-*"))
	if err != nil || len(known) == 0 {
		r.t.Fatalf("the driver knows %q: %v", known, err)
	}
	for _, file := range known {
		if strings.HasSuffix(file, "-true") || strings.HasSuffix(file, "-false") {
			if err := os.Remove(file); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}
