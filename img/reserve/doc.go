// Package reserve keeps a little room in a layer store, for what is removed from it
// when it is full: the library writes its records anew before it deletes anything,
// and cannot on a file system without a free byte or inode.
package reserve
