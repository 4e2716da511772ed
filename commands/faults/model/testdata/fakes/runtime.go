package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// runtime is crun. What it keeps of a container is a folder below --root: the pid,
// the fifo that its start is written to, and marks.
func runtime(args []string) error {
	root := ""
	for len(args) > 0 && strings.HasPrefix(args[0], "--") {
		switch name, value, given := strings.Cut(args[0], "="); name {
		case "--cgroup-manager":
		case "--root", "--log", "--log-format":
			if !given {
				if len(args) < 2 {
					return fmt.Errorf("%s without a value", name)
				}
				value, args = args[1], args[1:]
			}
			if name == "--root" {
				root = value
			}
		case "--version":
			fmt.Println("crun version 1.14.3-model")
			return nil
		default:
			return fmt.Errorf("unknown option %q", args[0])
		}
		args = args[1:]
	}
	if len(args) == 0 {
		return errors.New("no verb")
	}
	verb, id := args[0], args[len(args)-1]
	if verb == "features" {
		fmt.Println(`{"ociVersionMin":"1.0.0","ociVersionMax":"1.2.0"}`)
		return nil
	}
	s := state{dir: filepath.Join(root, id), id: id}
	if verb == "create" {
		return s.create(args[1 : len(args)-1])
	}
	pid, err := s.pid()
	if errors.Is(err, os.ErrNotExist) {
		if verb == "delete" && len(args) > 2 { // --force
			return os.RemoveAll(s.dir)
		}
		return fmt.Errorf("error opening file `%s/status`: No such file or directory", s.dir)
	}
	if err != nil {
		return err
	}
	switch verb {
	case "start":
		return s.start()
	case "kill":
		sig, err := strconv.Atoi(id)
		if err != nil {
			return err
		}
		return syscall.Kill(pid, syscall.Signal(sig))
	case "pause":
		return s.signal(pid, syscall.SIGSTOP)
	case "resume":
		return s.signal(pid, syscall.SIGCONT)
	case "delete":
		return s.remove(pid, len(args) > 2)
	}
	return fmt.Errorf("unknown verb %q", verb)
}

// state is one container's.
type state struct{ dir, id string }

func (s state) pid() (int, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, "pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(data))
}

func (s state) create(args []string) error {
	bundle, pidFile := "", ""
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "--bundle":
			bundle = args[i+1]
		case "--pid-file":
			pidFile = args[i+1]
		default:
			return fmt.Errorf("unknown option %q", args[i])
		}
	}
	data, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return err
	}
	var config struct {
		Process struct{ Args []string }
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return err
	}
	p := config.Process.Args
	if len(p) != 2 || p[0] != "/model" {
		return fmt.Errorf("executable file `%s` not found in $PATH: No such file or directory", strings.Join(p, " "))
	}
	if err := os.MkdirAll(filepath.Dir(s.dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return fmt.Errorf("container `%s` already exists: %w", s.id, err)
	}
	if err := syscall.Mkfifo(filepath.Join(s.dir, "start"), 0o600); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Args = []string{"modelctr", p[1], s.dir}
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", []string{"PATH=/"}, &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	return errors.Join(writeWhole(filepath.Join(s.dir, "pid"), pid), writeWhole(pidFile, pid))
}

// start opens the fifo, which a container that waits has open.
func (s state) start() error {
	if faulty(s.dir, "started") {
		return fmt.Errorf("cannot start an already running container")
	}
	var fifo *os.File
	ok := soon(func() bool {
		fd, err := syscall.Open(filepath.Join(s.dir, "start"), syscall.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			pid, _ := s.pid()
			return !alive(pid)
		}
		fifo = os.NewFile(uintptr(fd), "start")
		return true
	})
	if !ok || fifo == nil {
		return errors.New("cannot start a container that has stopped")
	}
	if err := os.WriteFile(filepath.Join(s.dir, "started"), nil, 0o600); err != nil {
		return err
	}
	_, err := fifo.Write([]byte{1})
	return err
}

// alive tells whether a process is there that is no zombie.
func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	text := string(data)
	rest := text[strings.LastIndexByte(text, ')')+1:]
	return !strings.HasPrefix(rest, " Z") && !strings.HasPrefix(rest, " X")
}

func (s state) signal(pid int, sig syscall.Signal) error {
	if !alive(pid) {
		return fmt.Errorf("the container `%s` is not running", s.id)
	}
	return syscall.Kill(pid, sig)
}

func (s state) remove(pid int, force bool) error {
	if alive(pid) {
		if !force {
			return fmt.Errorf("cannot delete container `%s` that is not stopped", s.id)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
		if !soon(func() bool { return !alive(pid) }) {
			return fmt.Errorf("process %d does not die", pid)
		}
	}
	return os.RemoveAll(s.dir)
}

// container is the process of a container: it waits to be started, and then does
// what its behaviour says.
//
//	trap   ends by 5 on SIGTERM, by 7 on SIGUSR1, by 0 on SIGUSR2
//	deaf   as trap, but ignores SIGTERM
//	quick  ends by 3 at once
func container(behaviour, dir string) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2)
	fifo, err := os.Open(filepath.Join(dir, "start"))
	if err != nil {
		os.Exit(99)
	}
	if n, err := fifo.Read(make([]byte, 1)); n != 1 || err != nil {
		os.Exit(98)
	}
	if behaviour == "quick" {
		os.Exit(3)
	}
	for sig := range signals {
		switch sig {
		case syscall.SIGTERM:
			if behaviour != "deaf" {
				os.Exit(5)
			}
		case syscall.SIGUSR1:
			os.Exit(7)
		case syscall.SIGUSR2:
			os.Exit(0)
		}
	}
}
