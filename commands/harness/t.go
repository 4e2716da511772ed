package harness

import (
	"context"
	"errors"
	"os"
	"time"
)

// T is what the functions of this file need of a *testing.T.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
	Context() context.Context
}

// patience is how long a leak check waits for monitors to end.
const patience = 10 * time.Second

// TestRoots makes davit roots that are checked for leaks and removed when the
// test ends: what the machine holds then must be what it held at this call,
// but for the built-in network's fixed parts, which are taken away with the
// roots.
func TestRoots(t T) Roots {
	t.Helper()
	return TestRootsOn(t, nil)
}

// TestRootsOn is TestRoots on file systems that prepare mounts below the new roots,
// where it is not nil: they are there when the leak check looks, and are unmounted
// with the roots' removal.
func TestRootsOn(t T, prepare func(Roots) error) Roots {
	t.Helper()
	roots, err := NewRoots(tempDir(t))
	if err == nil && prepare != nil {
		err = prepare(roots)
	}
	if err != nil {
		t.Fatalf("%v", errors.Join(err, roots.Remove()))
	}
	scope := Scope{Roots: []Roots{roots}}
	before, err := Take(t.Context(), scope)
	if err != nil {
		t.Fatalf("taking stock of the machine: %v", err)
	}
	t.Cleanup(func() {
		t.Helper()
		ctx := context.WithoutCancel(t.Context())
		if err := roots.RemoveNetwork(ctx); err != nil {
			t.Errorf("removing the network of the test's roots: %v", err)
		}
		if err := roots.unmountHome(); err != nil {
			t.Errorf("unmounting the layer store's home: %v", err)
		}
		d, err := Settle(ctx, before, scope, patience)
		if err != nil {
			t.Errorf("taking stock of the machine: %v", err)
		}
		if !d.Empty() {
			t.Errorf("the leak check differs:\n%s", d)
		}
		if err := roots.Remove(); err != nil {
			t.Errorf("removing the test's roots: %v", err)
		}
	})
	return roots
}

// TestDavit returns the davit to test, on roots of its own.
func TestDavit(t T) Davit {
	t.Helper()
	bin, err := Binary(t.Context(), tempDir(t))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return Davit{Bin: bin, Roots: TestRoots(t)}
}

// TestDavitOn is TestDavit on roots that are prepared as TestRootsOn has it.
func TestDavitOn(t T, prepare func(Roots) error) Davit {
	t.Helper()
	bin, err := Binary(t.Context(), tempDir(t))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return Davit{Bin: bin, Roots: TestRootsOn(t, prepare)}
}

// TestRegistry starts a registry for the length of the test.
func TestRegistry(t T, c RegistryConfig) *Registry {
	t.Helper()
	if c.Dir == "" {
		c.Dir = tempDir(t)
	}
	r, err := StartRegistry(t.Context(), c)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// tempDir makes a folder with a short name, as the sockets below it need, and
// removes it when the test ends. What is mounted there then stays, and fails.
func tempDir(t T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "davit-test-")
	if err != nil {
		t.Fatalf("making a folder: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("removing the test's folder: %v", err)
		}
	})
	return dir
}
