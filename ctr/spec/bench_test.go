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
