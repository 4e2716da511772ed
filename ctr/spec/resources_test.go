package spec

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResourcesWith(t *testing.T) {
	base := Resources{
		Memory: Memory{Limit: 100, Swap: 200}, CPU: CPU{Shares: 2, NanoCPUs: 1e9, Cpus: "0"}, Pids: 5,
		Huge: []HugepageLimit{{PageSize: "2MB", Limit: 1}, {PageSize: "1GB", Limit: 2}}, Unified: map[string]string{"a.b": "1", "a.c": "2"},
	}
	for _, tt := range []struct {
		name string
		with Resources
		want func(*Resources)
	}{
		{"nothing", Resources{}, func(*Resources) {}},
		{"memory", Resources{Memory: Memory{Limit: 50}}, func(r *Resources) { r.Memory.Limit = 50 }},
		{"unlimited swap", Resources{Memory: Memory{Swap: -1}}, func(r *Resources) { r.Memory.Swap = -1 }},
		{"a quota takes the place of a number of CPUs", Resources{CPU: CPU{Quota: 5000}}, func(r *Resources) { r.CPU.NanoCPUs, r.CPU.Quota = 0, 5000 }},
		{"one size of huge pages", Resources{Huge: []HugepageLimit{{PageSize: "2MB", Limit: 9}}}, func(r *Resources) {
			r.Huge = []HugepageLimit{{PageSize: "1GB", Limit: 2}, {PageSize: "2MB", Limit: 9}}
		}},
		{"one file", Resources{Unified: map[string]string{"a.c": "3"}}, func(r *Resources) { r.Unified = map[string]string{"a.b": "1", "a.c": "3"} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := base
			tt.want(&want)
			if d := cmp.Diff(want, base.With(tt.with)); d != "" {
				t.Error(d)
			}
		})
	}
	if base.Unified["a.c"] != "2" || base.Huge[0].Limit != 1 {
		t.Error("the limits that were there are changed")
	}
}
