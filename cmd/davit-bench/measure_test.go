package main

import "testing"

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
		if got := quantile(tt.samples, tt.q); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
