package spec

import "testing"

func BenchmarkBuild(b *testing.B) {
	for b.Loop() {
		if _, err := Build(Config{Rootfs: "/r", Process: Process{Args: []string{"sh"}, Cwd: "/"}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFilter(b *testing.B) {
	for b.Loop() {
		if _, err := Filter(SeccompDefault, CLICapabilities()); err != nil {
			b.Fatal(err)
		}
	}
}

// TestAllocates: a spec is built at each start of a container.
func TestAllocates(t *testing.T) {
	c := base()
	c.Security.Seccomp = SeccompDefault
	n := testing.AllocsPerRun(20, func() {
		if _, err := Build(c); err != nil {
			t.Error(err)
		}
	})
	if n > 400 {
		t.Errorf("%v allocations, 400 at most", n)
	}
}
