//go:build !(linux && amd64)

package confine

// NoX32 is false: only amd64 has x32 calls to leave out.
func NoX32() bool { return false }
