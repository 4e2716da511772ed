package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// job is what conmon's arguments ask for.
type job struct {
	id, bundle, pidFile, persist, exits, runtime string
	runtimeArgs, exitCommand                     []string
	exitDelay                                    time.Duration
}

func parseJob(args []string) (job, error) {
	var j job
	for i := 0; i < len(args); i++ {
		value := func() string {
			if i++; i < len(args) {
				return args[i]
			}
			return ""
		}
		switch a := args[i]; a {
		case "--sync", "--full-attach", "--no-sync-log", "-t", "-i", "--leave-stdin-open":
		case "-c":
			j.id = value()
		case "-b":
			j.bundle = value()
		case "-p":
			j.pidFile = value()
		case "--persist-dir":
			j.persist = value()
		case "--exit-dir":
			j.exits = value()
		case "-r":
			j.runtime = value()
		case "--runtime-arg":
			j.runtimeArgs = append(j.runtimeArgs, value())
		case "--exit-command", "--exit-command-arg":
			j.exitCommand = append(j.exitCommand, value())
		case "--exit-delay":
			seconds, err := strconv.Atoi(value())
			if err != nil {
				return j, err
			}
			j.exitDelay = time.Duration(seconds) * second
		case "-u", "-n", "-l", "--log-size-max":
			value()
		default:
			return j, fmt.Errorf("conmon: unknown option %q", a)
		}
	}
	return j, nil
}

// monitor is conmon: held on its start pipe, it has the runtime create the
// container, tells the pid, waits, writes the exit down and runs the exit command.
func monitor(args []string) error {
	j, err := parseJob(args)
	if err != nil {
		return err
	}
	if os.Getenv(waits) != "" {
		return becomeExitCommand(j)
	}
	sync, begin := os.NewFile(3, "sync"), os.NewFile(4, "start")
	_, _ = begin.Read(make([]byte, 1)) // its end is a beginning, too
	_ = begin.Close()
	const setChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0); errno != 0 {
		return errno
	}
	pid, err := j.create()
	if err != nil {
		text, _ := json.Marshal(err.Error())
		fmt.Fprintf(sync, "{\"pid\": -1, \"message\": %s}\n", text)
		return err
	}
	fmt.Fprintf(sync, "{\"pid\": %d}\n", pid)
	_ = sync.Close()
	code, err := await(pid)
	if err != nil {
		return err
	}
	text := strconv.Itoa(code)
	if err := writeWhole(filepath.Join(j.persist, "exit"), text); err != nil {
		return err
	}
	_ = writeWhole(filepath.Join(j.exits, j.id), text)
	if len(j.exitCommand) == 0 {
		return nil
	}
	if j.exitDelay == 0 {
		return exec.Command(j.exitCommand[0], j.exitCommand[1:]...).Run()
	}
	wait := exec.Command("/proc/self/exe", args...)
	wait.Args[0], wait.Env = os.Args[0], append(os.Environ(), waits+"=1")
	return wait.Run()
}

// second is one of the fake's, which has no time to lose.
const second = 20 * time.Millisecond

// waits in the environment says that it is what waits, a fork of the monitor's in truth,
// and then becomes the exit command.
const waits = "DAVIT_MODEL_WAITS"

func becomeExitCommand(j job) error {
	time.Sleep(j.exitDelay)
	if err := os.Unsetenv(waits); err != nil {
		return err
	}
	return syscall.Exec(j.exitCommand[0], j.exitCommand, os.Environ())
}

func (j job) create() (int, error) {
	args := append(append([]string(nil), j.runtimeArgs...), "create", "--bundle", j.bundle, "--pid-file", j.pidFile, j.id)
	cmd := exec.Command(j.runtime, args...)
	var words bytes.Buffer
	cmd.Stderr = &words
	if err := cmd.Run(); err != nil {
		if words.Len() > 0 {
			err = errors.New(words.String())
		}
		return 0, err
	}
	data, err := os.ReadFile(j.pidFile)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// await reaps the container, whose parent this process is by now.
func await(pid int) (int, error) {
	for {
		var ws syscall.WaitStatus
		_, err := syscall.Wait4(pid, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, err
		case ws.Signaled():
			return 128 + int(ws.Signal()), nil
		case ws.Exited():
			return ws.ExitStatus(), nil
		}
	}
}
