// Package reserve keeps a little room in a layer store's roots, for what is removed
// from it when one is full: the library writes its records anew before it deletes
// anything, and its note of what is mounted after it has unmounted it, and cannot on a
// file system without a free byte or inode.
package reserve
