package show

import (
	"maps"
	"slices"
	"strings"

	"github.com/davit-containers/davit/ctr"
)

// TopColumns is what the help of top says of its columns.
func TopColumns() string {
	all, byDefault := ctr.TopColumns()
	return "Process IDs and users are as inside the container; hpid and huser are the host's. Without descriptors the columns are " +
		strings.Join(byDefault, " ") + ".\n\nDescriptors: " + strings.Join(all, ", ") + "."
}

// Words are strings that templates print with commas between them; JSON has a
// list.
type Words []string

// String joins the words.
func (w Words) String() string { return strings.Join(w, ",") }

// MarshalJSON writes a list, also an empty one.
func (w Words) MarshalJSON() ([]byte, error) { return marshalList(w) }

// Labels are labels that templates print as key=value with commas between them;
// JSON has an object.
type Labels map[string]string

// String joins the labels, sorted by key.
func (l Labels) String() string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(l)) {
		out = append(out, k+"="+l[k])
	}
	return strings.Join(out, ",")
}

// MarshalJSON writes an object, also an empty one.
func (l Labels) MarshalJSON() ([]byte, error) { return marshalMap(l) }
