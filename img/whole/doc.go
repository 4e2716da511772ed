// Package whole makes images come into the layer store with all their documents, or
// not at all. containers/storage writes down an image first and its documents, the
// config, the manifest and the signatures, one by one after it: a process that is
// killed between, and a loss of power, leave an image that nobody can use.
//
// A Store notes on each image that it makes that it may be cut short. One with that
// note, without a name, that lacks its manifest or a signature is not whole: it is on
// no list, a pull that brings it again completes it, and Sweep removes it. Images
// without the note are taken as they are.
package whole
