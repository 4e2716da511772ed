package selinux

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// Kernel is what knows of SELinux.
type Kernel interface {
	// Enabled tells whether the host has SELinux, and a policy loaded.
	Enabled() bool
	// Init makes the labels of a process and of its files, as label.InitLabels of
	// opencontainers/selinux does. A level that it draws is none of those in use, and is
	// drawn by no other call until it is released.
	Init(options, inUse []string) (process, mount string, err error)
	Release(label string)
	FileLabel(path string) (string, error)
	// Relabel gives a label to a file, or to a folder and all below it, unless it is
	// one of those that the host cannot do without.
	Relabel(path, label string) error
}

// Labeller makes labels and sets them. The zero value works on this host.
type Labeller struct {
	// Kernel is this host's where it is nil.
	Kernel Kernel
}

// Labels are those of a process and of the files that it may write. Both are empty
// on a host without SELinux.
type Labels struct{ Process, Mount string }

// disable asks for no confinement.
const disable = "disable"

func (l Labeller) kernel() Kernel {
	if l.Kernel == nil {
		return host{}
	}
	return l.Kernel
}

// Enabled tells whether this host labels.
func (l Labeller) Enabled() bool { return l.kernel().Enabled() }

// Pod makes the labels that a pod gives to its containers, of a level that none of
// those in use has unless the options name one. Release is to be called when they
// are on record, or not needed.
func (l Labeller) Pod(options []string, inUse func() []string) (Labels, error) {
	if !l.Enabled() {
		return Labels{}, nil
	}
	var taken []string
	if level(options) == "" {
		taken = inUse()
	}
	return l.init(options, taken)
}

// Release says that the labels that Pod made are on record, or not needed.
func (l Labeller) Release(made Labels) {
	if made.Process != "" && l.Enabled() {
		l.kernel().Release(made.Process)
	}
}

// Container makes the labels of a container: its pod's where it has no options;
// else with its pod's level, unless they name one. Open is one that nothing is
// asked for and that cannot be confined, as it shares the host's processes.
func (l Labeller) Container(options []string, pod Labels, open bool) (Labels, error) {
	switch {
	case !l.Enabled():
		return Labels{}, nil
	case len(options) == 0 && open:
		options = []string{disable}
	case len(options) == 0 && pod.Process != "":
		return pod, nil
	}
	if of := levelOf(pod.Process); of != "" && level(options) == "" && !slices.Contains(options, disable) {
		options = append(slices.Clone(options), "level:"+of)
	}
	return l.init(options, nil)
}

func (l Labeller) init(options, inUse []string) (Labels, error) {
	process, mount, err := l.kernel().Init(options, inUse)
	if err != nil {
		return Labels{}, fmt.Errorf("SELinux label %q: %w: %w", strings.Join(options, ","), err, errdefs.ErrInvalidArgument)
	}
	if process == "" && len(options) > 0 && !slices.Contains(options, disable) {
		return Labels{}, fmt.Errorf("SELinux label %q cannot be used: this host's policy has none for containers: %w",
			strings.Join(options, ","), errdefs.ErrFailedPrecondition)
	}
	return Labels{process, mount}, nil
}

// Check returns the labels of a container that can be used now. Options that this
// host cannot enforce are ErrFailedPrecondition; those that ask for no confinement
// are met by a host without SELinux.
func (l Labeller) Check(options []string, made Labels) (Labels, error) {
	none := len(options) == 0 || slices.Contains(options, disable)
	switch {
	case l.Enabled() && (none || made.Process != ""):
		return made, nil
	case l.Enabled():
		return Labels{}, fmt.Errorf("SELinux label %q cannot be used: the container was made when this host had no SELinux: %w",
			strings.Join(options, ","), errdefs.ErrFailedPrecondition)
	case none, slices.Contains(options, "type:spc_t"):
		return Labels{}, nil
	}
	return Labels{}, fmt.Errorf("SELinux label %q cannot be used: this host has no SELinux: %w", strings.Join(options, ","), errdefs.ErrFailedPrecondition)
}

// Relabel gives the label of a container's files to a file or a folder with all
// below it: for all containers when shared. Links on the way are followed, so that
// none leads to what may not be relabelled, which is ErrInvalidArgument. Lazy takes a
// label at the top that is right for one that is right throughout.
func (l Labeller) Relabel(path, label string, shared, lazy bool) error {
	if label == "" || !l.Enabled() {
		return nil
	}
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("relabelling: %w", err)
	}
	if shared {
		label = withLevel(label, "s0")
	}
	if lazy {
		if has, err := l.kernel().FileLabel(path); err == nil && has == label {
			return nil
		}
	}
	if err := l.kernel().Relabel(path, label); err != nil {
		return fmt.Errorf("relabelling %q: %w", path, errors.Join(err, errdefs.ErrInvalidArgument))
	}
	return nil
}

// levels of a label are all that follows the third colon.
const beforeLevel = 3

func levelOf(label string) string {
	parts := strings.SplitN(label, ":", beforeLevel+1)
	if len(parts) <= beforeLevel {
		return ""
	}
	return parts[beforeLevel]
}

func withLevel(label, level string) string {
	parts := strings.SplitN(label, ":", beforeLevel+1)
	if len(parts) < beforeLevel {
		return label
	}
	return strings.Join(append(parts[:beforeLevel:beforeLevel], level), ":")
}

// level is the one that options name.
func level(options []string) string {
	out := ""
	for _, o := range options {
		if v, ok := strings.CutPrefix(o, "level:"); ok {
			out = v
		}
	}
	return out
}
