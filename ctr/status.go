package ctr

import (
	"time"

	"github.com/davit-containers/davit/ctr/record"
	"github.com/davit-containers/davit/ctr/spec"
)

// State is where a container is in its life:
//
//	          create            start              exit
//	(nothing) ─────► creating ─► created ─► running ─────► stopped
//	                                │         ▲ │ pause       │
//	                                │  unpause│ ▼             │
//	                                │        paused           │
//	                                └────► removing ◄─────────┘ remove
//
// A stopped container may be started again. What is recorded is checked
// against the exit file and the processes whenever it is read (see Get).
type State string

// The states of a container. The command line shows Stopped as "exited".
const (
	Creating State = "creating"
	Created  State = "created"
	Running  State = "running"
	Paused   State = "paused"
	Stopped  State = "stopped"
	Removing State = "removing"
)

// Reasons that a status may give for a container being stopped.
const (
	ReasonCompleted   = "Completed"
	ReasonError       = "Error"
	ReasonOOMKilled   = "OOMKilled"
	ReasonMonitorLost = "MonitorLost"
	ReasonReboot      = "Reboot"
	ReasonStartError  = "StartError"
)

// Status is what changes during a container's life. It lives in the run root
// and is replaced as a whole.
type Status struct {
	State State `json:"state"`
	// Start counts the starts; it is 0 before the first.
	Start int `json:"start,omitempty"`
	// Prepared says that the runtime holds the container's process, ready to
	// start (state Created only).
	Prepared bool `json:"prepared,omitempty"`
	// Mounted is the path of the mounted root filesystem.
	Mounted string `json:"mounted,omitempty"`
	// Cgroup is the container's cgroup, below the mounts of the hierarchies.
	Cgroup string `json:"cgroup,omitempty"`

	// User is who the process runs as, resolved in the image.
	User *spec.User `json:"user,omitempty"`
	// Limits replace those of the Config; nil when they were not updated.
	Limits *Limits `json:"limits,omitempty"`

	Pid          int    `json:"pid,omitempty"`
	PidStart     uint64 `json:"pidStart,omitempty"`
	MonitorPid   int    `json:"monitorPid,omitempty"`
	MonitorStart uint64 `json:"monitorStart,omitempty"`

	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	// ExitCode is the process's, 128+n for signal n; meaningful when Stopped.
	ExitCode int `json:"exitCode,omitempty"`
	// CodeKnown is false when nobody saw the process exit.
	CodeKnown bool   `json:"codeKnown,omitempty"`
	OOMKilled bool   `json:"oomKilled,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Message   string `json:"message,omitempty"`
}

// Container is one container as it is now.
type Container struct {
	ID      string
	Created time.Time
	Config  Config
	Status  Status
	// Op is the operation under way on it, nil when there is none.
	Op *record.Holder
}

// Made tells whether the container is whole: not while it is made for the first
// time, or when whoever made it has died.
func (c Container) Made() bool {
	return c.Status.State != Creating && (c.Op == nil || c.Op.Kind != opCreate)
}

// Alive tells whether the container has a process.
func (s Status) Alive() bool { return s.State == Running || s.State == Paused }
