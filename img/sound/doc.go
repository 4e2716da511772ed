// Package sound looks whether what a layer store holds is as it was written: the
// records of images, the folders and links of layers, and, where it is asked to
// read them, their contents. It changes nothing.
package sound
