// Package frozen reads a layer store on a read-only file system: the library opens
// its own only where it can make locks.
package frozen
