package criadapter

import (
	"context"

	"google.golang.org/protobuf/proto"
)

// chunkBytes bounds a message of the list streams, well below the 4 MiB that a
// gRPC client takes unless told otherwise. An item above it goes alone.
const chunkBytes = 512 << 10

// listed are the items of what each tells of and matches. Records that cannot be read
// are an error where there are no others.
func listed[T, M any](ctx context.Context, each func(context.Context, func(*T)) error, matches func(*T) bool, item func(*T) M) ([]M, error) {
	var out []M
	some := false
	err := each(ctx, func(t *T) {
		some = true
		if matches(t) {
			out = append(out, item(t))
		}
	})
	if err != nil && !some {
		return nil, err
	}
	return out, nil
}

// sendChunks sends each item once, in messages of at least one item and of a
// bounded size: what the Stream… RPCs are for. None of no items.
func sendChunks[T proto.Message](items []T, send func([]T) error) error {
	for len(items) > 0 {
		n, size := 1, proto.Size(items[0])
		for n < len(items) {
			if size += proto.Size(items[n]); size > chunkBytes {
				break
			}
			n++
		}
		if err := send(items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}
