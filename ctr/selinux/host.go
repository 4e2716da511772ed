package selinux

import (
	"github.com/opencontainers/selinux/go-selinux"
	"github.com/opencontainers/selinux/go-selinux/label"
)

// host is this host's kernel and policy.
type host struct{}

var _ Kernel = host{}

func (host) Enabled() bool { return selinux.GetEnabled() }

// Init keeps those in use from being drawn, for as long as it draws.
func (host) Init(options, inUse []string) (process, mount string, err error) {
	for _, l := range inUse {
		if selinux.ReserveLabelV2(l) == nil {
			defer selinux.ReleaseLabel(l)
		}
	}
	return label.InitLabels(options)
}

func (host) Release(l string) { selinux.ReleaseLabel(l) }

func (host) FileLabel(path string) (string, error) { return selinux.FileLabel(path) }

func (host) Relabel(path, l string) error { return label.Relabel(path, l, false) }
