//lint:file-ignore SA1019 The API's older fields are obeyed, too.

package criadapter

import (
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/davit-containers/davit/ctr"
	"github.com/davit-containers/davit/ctr/spec"
)

// containerSecurity fills in who a container runs as, what confines it and which
// namespaces it has. A request without a security context gets the defaults.
func containerSecurity(c *runtimeapi.LinuxContainerSecurityContext, out *ctr.Config) error {
	if err := containerUserOf(c, &out.Process); err != nil {
		return err
	}
	if err := containerNamespaces(c.GetNamespaceOptions(), out); err != nil {
		return err
	}
	caps, err := capabilities(c.GetCapabilities())
	if err != nil {
		return err
	}
	out.Security = spec.Security{
		Privileged: c.GetPrivileged(), Caps: caps, NoNewPrivileges: c.GetNoNewPrivs(), ReadOnlyRootfs: c.GetReadonlyRootfs(),
		Paths: pathMasks(c, len(out.Namespaces.UIDMappings) > 0), SELinux: spec.SELinux{Options: selinuxOptions(c.GetSelinuxOptions())},
	}
	if out.Security.Seccomp, out.SeccompFile, err = seccompProfile(c.GetSeccomp(), c.GetSeccompProfilePath()); err != nil {
		return err
	}
	if out.Security.AppArmor, err = apparmorProfile(c.GetApparmor(), c.GetApparmorProfile()); err != nil {
		return err
	}
	if c.GetPrivileged() { // nothing confines it, whatever else is asked for
		out.Security.Caps = spec.Capabilities{Base: spec.CRICapabilities()}
		out.Security.Seccomp, out.SeccompFile, out.Security.AppArmor = spec.SeccompUnconfined, "", ""
		out.Security.SELinux.Options = []string{"disable"}
	}
	return nil
}

// containerUserOf: the image's user counts where the request names none.
func containerUserOf(c *runtimeapi.LinuxContainerSecurityContext, p *ctr.Process) error {
	uid, name := c.GetRunAsUser(), c.GetRunAsUsername()
	switch {
	case uid != nil && name != "":
		return invalid("both run_as_user and run_as_username are given")
	case uid != nil:
		if err := checkID("run_as_user", uid.GetValue()); err != nil {
			return err
		}
		p.User = strconv.FormatInt(uid.GetValue(), 10)
	case name != "":
		// A number is in no need to be in the image's passwd, where a name must be.
		if strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f || r == ':' }) || strings.Trim(name, "+-0123456789") == "" {
			return invalid("run_as_username %.64q is not a user's name", name)
		}
		p.User = name
	}
	if gid := c.GetRunAsGroup(); gid != nil {
		if p.User == "" {
			return invalid("run_as_group is given without run_as_user or run_as_username")
		}
		if err := checkID("run_as_group", gid.GetValue()); err != nil {
			return err
		}
		p.User += ":" + strconv.FormatInt(gid.GetValue(), 10)
	}
	for _, gid := range c.GetSupplementalGroups() {
		if err := checkID("a supplemental group", gid); err != nil {
			return err
		}
		p.Groups = append(p.Groups, strconv.FormatInt(gid, 10))
	}
	switch c.GetSupplementalGroupsPolicy() {
	case runtimeapi.SupplementalGroupsPolicy_Merge:
		p.GroupPolicy = ctr.GroupsMerge
	case runtimeapi.SupplementalGroupsPolicy_Strict:
		p.GroupPolicy = ctr.GroupsStrict
	default:
		return invalid("supplemental groups policy %d is unknown", c.GetSupplementalGroupsPolicy())
	}
	return nil
}

func checkID(what string, id int64) error {
	if id < 0 || id > math.MaxInt32 {
		return invalid("%s is %d, not between 0 and %d", what, id, math.MaxInt32)
	}
	return nil
}

// containerNamespaces fills in where a container's namespaces are not simply its
// sandbox's; MakeContainer holds the rest against the sandbox.
func containerNamespaces(o *runtimeapi.NamespaceOption, out *ctr.Config) error {
	switch o.GetPid() {
	case runtimeapi.NamespaceMode_POD:
	case runtimeapi.NamespaceMode_CONTAINER:
		out.Namespaces.PID.Mode = spec.ModePrivate
	case runtimeapi.NamespaceMode_NODE:
		out.Namespaces.PID.Mode = spec.ModeHost
	case runtimeapi.NamespaceMode_TARGET:
		if out.PIDTarget = o.GetTargetId(); out.PIDTarget == "" {
			return invalid("the pid namespace is to be that of a container, and no target_id is given")
		}
	default:
		return invalid("a container's pid namespace cannot be %s", o.GetPid())
	}
	for _, n := range []struct {
		kind string
		mode runtimeapi.NamespaceMode
		to   *spec.Namespace
	}{{"network", o.GetNetwork(), &out.Namespaces.Network}, {"ipc", o.GetIpc(), &out.Namespaces.IPC}} {
		switch n.mode {
		case runtimeapi.NamespaceMode_POD:
		case runtimeapi.NamespaceMode_NODE:
			n.to.Mode = spec.ModeHost
		case runtimeapi.NamespaceMode_CONTAINER:
			if n.kind == "network" {
				return invalid("a container's network namespace cannot be %s", n.mode)
			}
			n.to.Mode = spec.ModePrivate
		default:
			return invalid("a container's %s namespace cannot be %s", n.kind, n.mode)
		}
	}
	if o.GetUsernsOptions().GetMode() == runtimeapi.NamespaceMode_NODE {
		out.Namespaces.User.Mode = spec.ModeHost
	}
	var err error
	out.Namespaces.UIDMappings, out.Namespaces.GIDMappings, err = userMappings(o.GetUsernsOptions())
	return err
}

// userMappings are those of a user namespace; none for the host's.
func userMappings(u *runtimeapi.UserNamespace) (uids, gids []spec.IDMapping, err error) {
	switch {
	case u == nil:
		return nil, nil, nil
	case u.GetMode() == runtimeapi.NamespaceMode_NODE:
		if len(u.GetUids())+len(u.GetGids()) > 0 {
			return nil, nil, invalid("the host's user namespace has no mappings to give")
		}
		return nil, nil, nil
	case u.GetMode() != runtimeapi.NamespaceMode_POD:
		return nil, nil, invalid("a user namespace cannot be %s", u.GetMode())
	}
	for _, m := range []struct {
		what string
		list []*runtimeapi.IDMapping
	}{{"users", u.GetUids()}, {"groups", u.GetGids()}} {
		if len(m.list) != 1 {
			return nil, nil, invalid("the user namespace has %d mappings of %s, not one", len(m.list), m.what)
		}
		one := m.list[0]
		switch {
		case one.GetContainerId() != 0:
			return nil, nil, invalid("the user namespace's mapping of %s does not begin at 0", m.what)
		case one.GetLength() == 0 || uint64(one.GetHostId())+uint64(one.GetLength()) > math.MaxUint32:
			return nil, nil, invalid("the user namespace's mapping of %s has %d IDs from %d on", m.what, one.GetLength(), one.GetHostId())
		}
	}
	return idMappings(u.GetUids()), idMappings(u.GetGids()), nil
}

// capabilities are CRI's default ones with what is added and dropped. Ambient ones
// are added to all sets.
func capabilities(c *runtimeapi.Capability) (spec.Capabilities, error) {
	out := spec.Capabilities{
		Base: spec.CRICapabilities(), Add: slices.Concat(c.GetAddCapabilities(), c.GetAddAmbientCapabilities()),
		Drop: c.GetDropCapabilities(), Ambient: c.GetAddAmbientCapabilities(),
	}
	for _, name := range slices.Concat(out.Add, out.Drop) {
		if _, err := spec.ParseCapability(name); err != nil {
			return out, err
		}
	}
	return out, nil
}

// pathMasks: paths that are named are hidden, or read-only, beside those that
// always are. A kubelet names none at all for a procMount that is unmasked, which
// Kubernetes allows in a user namespace only; others that name none get the
// defaults.
func pathMasks(c *runtimeapi.LinuxContainerSecurityContext, userns bool) spec.PathMasks {
	out := spec.PathMasks{Masked: c.GetMaskedPaths(), Readonly: c.GetReadonlyPaths()}
	if userns && len(out.Masked) == 0 && len(out.Readonly) == 0 {
		return spec.PathMasks{Masked: []string{}, Readonly: []string{}}
	}
	if len(out.Masked) == 0 {
		out.Masked = nil
	}
	if len(out.Readonly) == 0 {
		out.Readonly = nil
	}
	return out
}

// Words of the profile fields that the API has deprecated.
const (
	profileDefault    = "runtime/default"
	profileDocker     = "docker/default"
	profileUnconfined = "unconfined"
	profileLocal      = "localhost/"
)

// seccompProfile is a profile, or the file of the host that has it.
func seccompProfile(p *runtimeapi.SecurityProfile, deprecated string) (profile, file string, err error) {
	switch {
	case p != nil && p.GetProfileType() == runtimeapi.SecurityProfile_RuntimeDefault:
		return spec.SeccompDefault, "", nil
	case p != nil && p.GetProfileType() == runtimeapi.SecurityProfile_Unconfined:
		return spec.SeccompUnconfined, "", nil
	case p != nil && p.GetProfileType() == runtimeapi.SecurityProfile_Localhost:
		file = strings.TrimPrefix(p.GetLocalhostRef(), profileLocal)
	case p != nil:
		return "", "", invalid("seccomp profile type %d is unknown", p.GetProfileType())
	case deprecated == "" || deprecated == profileUnconfined:
		return spec.SeccompUnconfined, "", nil
	case deprecated == profileDefault || deprecated == profileDocker:
		return spec.SeccompDefault, "", nil
	default:
		var ok bool
		if file, ok = strings.CutPrefix(deprecated, profileLocal); !ok {
			return "", "", invalid("seccomp profile %.256q is unknown", deprecated)
		}
	}
	if !path.IsAbs(file) || strings.ContainsRune(file, 0) {
		return "", "", invalid("seccomp profile %.256q is not an absolute path", file)
	}
	return "", path.Clean(file), nil
}

// apparmorProfile is the name of a profile that the host has loaded; empty for
// the default, which a host without AppArmor has none of.
func apparmorProfile(p *runtimeapi.SecurityProfile, deprecated string) (string, error) {
	name := deprecated
	switch {
	case p == nil && (deprecated == "" || deprecated == profileDefault),
		p != nil && p.GetProfileType() == runtimeapi.SecurityProfile_RuntimeDefault:
		return "", nil
	case p == nil && deprecated == profileUnconfined,
		p != nil && p.GetProfileType() == runtimeapi.SecurityProfile_Unconfined:
		return profileUnconfined, nil
	case p != nil && p.GetProfileType() == runtimeapi.SecurityProfile_Localhost:
		name = profileLocal + strings.TrimPrefix(p.GetLocalhostRef(), profileLocal)
	case p != nil:
		return "", invalid("AppArmor profile type %d is unknown", p.GetProfileType())
	}
	name, ok := strings.CutPrefix(name, profileLocal)
	if !ok || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return "", invalid("AppArmor profile %.256q is not the name of one", name)
	}
	return name, nil
}

// selinuxOptions are those of a label, as the command line writes them.
func selinuxOptions(o *runtimeapi.SELinuxOption) []string {
	var out []string
	for _, part := range []struct{ key, value string }{
		{"user", o.GetUser()}, {"role", o.GetRole()}, {"type", o.GetType()}, {"level", o.GetLevel()},
	} {
		if part.value != "" {
			out = append(out, part.key+":"+part.value)
		}
	}
	return out
}
