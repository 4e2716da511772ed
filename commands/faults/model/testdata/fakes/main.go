// Command fakes is a monitor, an OCI runtime, a CNI plugin and the containers
// themselves, by the name that it is called by: as much of conmon, crun and a
// plugin as davit sees, in a millisecond or two each.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	var err error
	switch name := filepath.Base(os.Args[0]); name {
	case "conmon":
		err = monitor(os.Args[1:])
	case "crun":
		err = runtime(os.Args[1:])
	case "modelnet":
		err = network()
	case "modelctr":
		container(os.Args[1], os.Args[2])
	default:
		err = fmt.Errorf("called %q", name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// faulty says whether a fault was asked for, by a file of that name in a folder.
func faulty(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// writeWhole writes a file that is never seen half.
func writeWhole(path, text string) error {
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	return errors.Join(os.WriteFile(tmp, []byte(text), 0o600), os.Rename(tmp, path))
}

// soon waits for what another process is about to do.
func soon(ok func() bool) bool {
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
