package ctr

import (
	"time"

	"github.com/davit-containers/davit/ctr/monitor"
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

// Reasons that a status may give for a container being stopped; MonitorLost for
// one that runs without its monitor, too.
const (
	ReasonCompleted   = "Completed"
	ReasonError       = "Error"
	ReasonOOMKilled   = "OOMKilled"
	ReasonMonitorLost = "MonitorLost"
	ReasonReboot      = "Reboot"
	ReasonStartError  = "StartError"
)

// RebootMessage is the message beside ReasonReboot, and of pods that a reboot ended.
const RebootMessage = "the machine was restarted"

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

	// Rebooted says that the machine was restarted since it was started last.
	Rebooted bool `json:"rebooted,omitempty"`
	// Restart replaces the Config's policy; nil when it was not updated.
	Restart *Restart `json:"restart,omitempty"`
	// StoppedByUser says that somebody has asked for its end since it was started
	// last; it outlives a restart of the machine where there is a policy.
	StoppedByUser bool `json:"stoppedByUser,omitempty"`
	// Again is about its being started again without a user.
	Again Again `json:"again,omitzero"`
	// Health is what its checks have shown since it was started; nil if there are
	// none.
	Health *HealthState `json:"health,omitempty"`
}

// HealthState is what a container's checks have shown since it was started.
type HealthState struct {
	// Status is one of those below.
	Status string `json:"status"`
	// FailingStreak is how many checks in a row have failed that count.
	FailingStreak int `json:"failingStreak"`
	// Log has the last HealthLog checks, the oldest first.
	Log []HealthResult `json:"log,omitempty"`
}

// What a container's health is: it starts until a check has passed or too many
// have failed.
const (
	HealthStarting = "starting"
	Healthy        = "healthy"
	Unhealthy      = "unhealthy"
)

// HealthLog and HealthOutput are how many checks are kept, and how many bytes of
// what each has written.
const (
	HealthLog    = 5
	HealthOutput = 500
)

// HealthResult is one check.
type HealthResult struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
	// ExitCode is 0 where the check has passed, and -1 where it has no code.
	ExitCode int    `json:"exitCode"`
	Output   string `json:"output,omitempty"`
}

// Again is how often a container was started again since a user started it.
type Again struct {
	// Asked says that it is to be started when it has stopped, whatever its policy:
	// it is being restarted.
	Asked bool `json:"asked,omitempty"`
	// Count is how often it was started again, or that was tried.
	Count int `json:"count,omitempty"`
	// Quick is how many of these came one after the other without its having run for
	// long: the next one waits the longer.
	Quick int `json:"quick,omitempty"`
	// Tried is when it could not be started again, since it has run last.
	Tried time.Time `json:"tried,omitzero"`
}

// Container is one container as it is now.
type Container struct {
	ID      string
	Created time.Time
	Config  Config
	Status  Status
	// Op is the operation under way on it, nil when there is none.
	Op *record.Holder

	// monitor is the one on record, also of a container that has ended and is not
	// settled.
	monitor record.Process
}

// Starting tells whether somebody is about to start the container.
func (c Container) Starting() bool { return c.Op != nil && c.Op.Kind == opStart }

// Made tells whether the container is whole: not while it is made for the first
// time, or when whoever made it has died.
func (c Container) Made() bool {
	return c.Status.State != Creating && (c.Op == nil || c.Op.Kind != opCreate)
}

// Checked tells whether a container is alive and its health checked now and then.
func (c Container) Checked() bool {
	h := c.Config.Health
	return c.Status.Alive() && h != nil && h.Interval > 0
}

// RestartPolicy is the policy that the container has: as it was made, or updated
// since.
func (c Container) RestartPolicy() Restart {
	r := c.Config.Restart
	if c.Status.Restart != nil {
		r = *c.Status.Restart
	}
	if r.Policy == "" {
		r.Policy = RestartNo
	}
	return r
}

// StartsOnBoot tells whether the container's restart policy promises that it is
// started once the machine has been: always, and unless-stopped where no user has
// stopped it since its last start.
func (c Container) StartsOnBoot() bool {
	switch c.RestartPolicy().Policy {
	case RestartAlways:
		return true
	case RestartUnlessStopped:
		return !c.Status.StoppedByUser
	}
	return false
}

// A container that is started again waits: the first time for restartDelay, then
// each time twice as long, restartDelayMax at most, until it has run for
// restartReset.
const (
	restartDelay    = 100 * time.Millisecond
	restartDelayMax = time.Minute
	restartReset    = 10 * time.Second
	// askedDelay is what who restarts it has to do so.
	askedDelay = 2 * time.Second
)

// RestartDue tells whether the container has ended and is to be started again,
// and how long it is until then. That follows from the record alone, so that
// anybody may do it whoever has died. Clocks that were set cannot make the wait
// longer than it was to be.
func (c Container) RestartDue(now time.Time) (wait time.Duration, due bool) {
	s := c.Status
	if s.State != Stopped || s.StoppedByUser || s.Rebooted || c.Config.Infra || !c.again() {
		return 0, false
	}
	since := s.FinishedAt
	if s.Again.Asked && s.Again.Tried.IsZero() { // by somebody who does it, or has died
		return min(max(0, askedDelay-now.Sub(since)), askedDelay), true
	}
	if s.Again.Tried.After(since) {
		since = s.Again.Tried
	}
	delay := restartDelayMax
	if n := s.quick(); n < 10 {
		delay = min(delay, restartDelay<<n)
	}
	return min(max(0, delay-now.Sub(since)), delay), true
}

// again tells whether a container that has ended by itself is started again.
func (c Container) again() bool {
	s, r := c.Status, c.RestartPolicy()
	switch {
	case s.Again.Asked, r.Policy == RestartAlways, r.Policy == RestartUnlessStopped:
		return true
	case r.Policy == RestartOnFailure:
		return (s.ExitCode != 0 || !s.CodeKnown) && (r.Retries == 0 || s.Again.Count < r.Retries)
	}
	return false
}

// quick is Again.Quick after what ran last.
func (s Status) quick() int {
	if s.Again.Tried.IsZero() && s.FinishedAt.Sub(s.StartedAt) >= restartReset {
		return 0
	}
	return s.Again.Quick
}

// Alive tells whether the container has a process.
func (s Status) Alive() bool { return s.State == Running || s.State == Paused }

// Process is the container's first process.
func (s Status) Process() record.Process { return record.Process{Pid: s.Pid, Start: s.PidStart} }

// Monitor is the process of the container's monitor.
func (s Status) Monitor() record.Process {
	return record.Process{Pid: s.MonitorPid, Start: s.MonitorStart}
}

// setProcesses notes the processes of a start; zero values for none.
func (s *Status) setProcesses(of monitor.Started) {
	s.Pid, s.PidStart = of.Process.Pid, of.Process.Start
	s.MonitorPid, s.MonitorStart = of.Monitor.Pid, of.Monitor.Start
}
