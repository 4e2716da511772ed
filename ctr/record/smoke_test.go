package record

import (
	"context"
	"testing"
)

func TestSmoke(t *testing.T) {
	p := Paths{Root: t.TempDir() + "/r", RunRoot: t.TempDir() + "/rr"}
	if _, err := EnsureBoot(p); err != nil {
		t.Fatal(err)
	}
	d, err := Open[map[string]string, int](Options{Paths: p, Kind: "pods"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	op, err := d.Create(ctx, Meta{ID: "abc", Owner: OwnerCLI, Key: "web"}, map[string]string{"a": "b"}, 1, CreateOptions{Durable: true, Stage: "s"})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(d.Get("abc"))
	t.Log(d.Create(ctx, Meta{ID: "abd", Owner: OwnerCLI, Key: "web"}, nil, 1, CreateOptions{}))
	t.Log(d.TryBegin("abc", "stop"))
	t.Log(op.End())
	t.Log(d.Update(ctx, "abc", func(i int) (int, error) { return i + 1, nil }))
	t.Log(d.Rename(ctx, "abc", "db"))
	t.Log(d.Resolve(nil, "db"))
	t.Log(d.Resolve(nil, "web"))
	t.Log(d.Resolve(nil, "ab"))
	t.Log(d.List())
	op, err = d.Begin(ctx, "abc", "remove")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(d.Dead())
	op.Abandon()
	t.Log(d.Dead())
	op, err = d.Begin(ctx, "abc", "remove")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(op.Prior())
	t.Log(op.Remove(ctx))
	t.Log(d.List())
	t.Log(d.Get("abc"))
}
