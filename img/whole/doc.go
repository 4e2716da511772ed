// Package whole makes images come into the layer store with all their documents, or
// not at all. containers/storage writes down an image first and its documents, the
// config, the manifest and the signatures, one by one after it: a process that is
// killed between, and a loss of power, leave an image that nobody can use.
//
// A Store notes on each image, as it is made, which documents it is to have. One that
// lacks some of them is not whole: it is on no list, a pull that brings it again
// completes it, and Sweep removes it. Images of other programs have no such note, and
// are taken as they are.
package whole
