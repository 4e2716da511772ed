package rounds

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQuantile(t *testing.T) {
	for _, tt := range []struct {
		name    string
		samples []float64
		q, want float64
	}{
		{"none", nil, 0.5, 0},
		{"odd", []float64{3, 1, 2}, 0.5, 2},
		{"even", []float64{4, 1, 2, 3}, 0.5, 2.5},
		{"greatest of few", []float64{1, 9, 2}, 0.99, 9},
	} {
		if got := (Result{Samples: tt.samples}).Quantile(tt.q); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestAhead(t *testing.T) {
	slow, fast := Result{Samples: []float64{30}}, Result{Samples: []float64{10}}
	if got := slow.Ahead(fast); got != 3 {
		t.Errorf("a third of the time is %v times ahead", got)
	}
	slow.Unit, fast.Unit = MBPerSecond, MBPerSecond
	if got := fast.Ahead(slow); got != 3 {
		t.Errorf("three times the rate is %v times ahead", got)
	}
}

// Rounds are interleaved and begin with another subject each, and one that fails
// is left out while the others go on.
func TestRun(t *testing.T) {
	var order string
	subject := func(name string, failsAt int) Subject {
		n := 0
		return Subject{Name: name, Sample: func(context.Context) ([]float64, error) {
			order += name
			if n++; n == failsAt {
				return nil, errors.New("broken")
			}
			return []float64{float64(n), float64(10 * n)}, nil
		}}
	}
	c := Case{Group: "g", Name: "c", Unit: Milliseconds, Stages: []string{"one", "two"}, Rounds: 3, Warm: 1,
		Subjects: []Subject{subject("a", 0), subject("b", 0), subject("x", 2)}}
	results, dropped, err := Run(t.Context(), c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if want := "abx" + "bxa" + "ab" + "ba"; order != want {
		t.Errorf("order %s, want %s", order, want)
	}
	want := []Result{
		{Group: "g", Case: "c, one", Unit: Milliseconds, Subject: "a", Samples: []float64{2, 3, 4}},
		{Group: "g", Case: "c, one", Unit: Milliseconds, Subject: "b", Samples: []float64{2, 3, 4}},
		{Group: "g", Case: "c, two", Unit: Milliseconds, Subject: "a", Samples: []float64{20, 30, 40}},
		{Group: "g", Case: "c, two", Unit: Milliseconds, Subject: "b", Samples: []float64{20, 30, 40}},
	}
	if diff := cmp.Diff(want, results); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Dropped{{"g", "c", "x", "broken"}}, dropped); diff != "" {
		t.Error(diff)
	}
}
