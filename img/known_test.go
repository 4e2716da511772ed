package img

import (
	"strconv"
	"testing"
)

// What is kept of images is bounded in images and in bytes, whatever they say.
func TestKnownIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name        string
		size, count int
		want        int // at most
	}{
		{name: "many", size: 1, count: 3 * maxKnown, want: maxKnown},
		{name: "large", size: maxKnownImage, count: 1000, want: maxKnownBytes / maxKnownImage},
		{name: "too large", size: maxKnownImage + 1, count: 10},
	} {
		known := knownImages{images: map[string]knownImage{}}
		most, total := 0, 0
		for i := range tt.count {
			for range 2 { // with its annotations, too
				known.add(strconv.Itoa(i), knownImage{size: int64(tt.size)})
			}
			total = 0
			for _, k := range known.images {
				total += int(k.size)
			}
			if most = max(most, len(known.images)); total > maxKnownBytes || int64(total) != known.size {
				t.Fatalf("%s: %d bytes in %d images are kept, %d by its own count", tt.name, total, len(known.images), known.size)
			}
		}
		if most != tt.want {
			t.Errorf("%s: %d images were kept at most, want %d", tt.name, most, tt.want)
		}
	}
}
