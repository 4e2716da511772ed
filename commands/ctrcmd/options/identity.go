package options

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/davit-containers/davit/commands/cli"
	"github.com/davit-containers/davit/ctr"
)

// Identity is what a container is called, and what goes with it.
type Identity struct {
	Name        string
	Replace     bool
	Pod         string
	Labels      []string
	LabelFiles  []string
	Annotations []string
	CIDFile     string
	PIDFile     string
}

// Flags adds the flags of the group.
func (o *Identity) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Name, "name", "", "`NAME` of the container")
	fs.BoolVar(&o.Replace, "replace", false, "remove a container of the same name first")
	fs.StringVar(&o.Pod, "pod", "", "run in the `POD` of this name, or new:NAME in one that is made for it")
	fs.StringArrayVarP(&o.Labels, "label", "l", nil, "label, as `KEY=VALUE` (may be repeated)")
	fs.StringArrayVar(&o.LabelFiles, "label-file", nil, "read labels from a `FILE`, one a line (may be repeated)")
	fs.StringArrayVar(&o.Annotations, "annotation", nil, "annotation of the OCI spec, as `KEY=VALUE` (may be repeated)")
	fs.StringVar(&o.CIDFile, "cidfile", "", "write the container's ID to a new `FILE`")
	fs.StringVar(&o.PIDFile, "pidfile", "", "write the process ID of the container's first process to a `FILE`")
}

// Fill fills in what a container is called.
func (o *Identity) Fill(h Host, c *ctr.Config) error {
	if err := CheckName("name", o.Name); err != nil {
		return err
	}
	if o.Replace && o.Name == "" {
		return cli.Usagef("--replace needs --name: the name of the container to replace")
	}
	if o.Name != "" {
		c.Name = o.Name
	}
	var err error
	if c.Labels, err = h.Labels("label", o.Labels, o.LabelFiles); err != nil {
		return err
	}
	c.Annotations, err = h.Labels("annotation", o.Annotations, nil)
	return err
}

// podTarget splits the value of --pod: the name of a pod to make, or a reference
// to one that is there.
func (o *Identity) podTarget() (made, ref string, err error) {
	name, isNew := strings.CutPrefix(o.Pod, "new:")
	if !isNew {
		return "", o.Pod, nil
	}
	if name == "" {
		return "", "", cli.Usagef("--pod: %q names no pod", o.Pod).Hintf("--pod new:NAME")
	}
	return name, "", CheckName("pod", name)
}

// CheckName refuses what cannot be the name of a container or a pod.
func CheckName(flag, name string) error {
	ok := len(name) <= 255
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		ok = alnum || i > 0 && (c == '_' || c == '.' || c == '-')
	}
	if !ok {
		return cli.Usagef("--%s: %q is not a name: give letters, digits, '_', '.' and '-', a letter or digit first", flag, name)
	}
	return nil
}
