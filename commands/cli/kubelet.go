package cli

import (
	"github.com/containerd/errdefs"

	"github.com/davit-containers/davit/ctr/record"
)

// Guard keeps from changing by accident what the kubelet owns, which is what owned says:
// then it is ErrPermissionDenied. force is the verb's --force; nil where it has none.
func Guard(owner record.Owner, force *bool, owned string) error {
	if owner != record.OwnerCRI || force != nil && *force {
		return nil
	}
	hint := "change its manifest or use kubectl"
	if force != nil {
		hint += "; --force does it all the same"
	}
	return &UsageError{Err: &worded{errdefs.ErrPermissionDenied, owned + ", which would make it anew"}, Hint: hint}
}

// KubePod is the pod that the kubelet's labels of an object name, as namespace/name;
// empty where they name none.
func KubePod(labels map[string]string) string {
	name := labels["io.kubernetes.pod.name"]
	if name == "" {
		return ""
	}
	return labels["io.kubernetes.pod.namespace"] + "/" + name
}
