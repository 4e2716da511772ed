// Package staging notices when the layer store of containers/storage has lost the
// guard of a folder that it works in.
//
// The store extracts a layer into temp-dir-X beside the layers, and moves what it
// deletes there, without holding its own lock. The file lock-X, locked, keeps other
// processes from clearing the folder away as a dead one's when they read the store.
// It is made before it is locked. A process that comes between, and finds it
// unlocked, deletes it: X is then unguarded, and whoever reads the store next
// empties the folder under the hands of its owner, who need not notice: files of
// the layer are missing, or a layer that was to go stays. What went on in the
// folders tells that it happened.
package staging
