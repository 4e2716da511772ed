// Package spare keeps the layer store from being used when file descriptors are about
// to run out: a Store is one that first makes sure that there are some to spare.
package spare
