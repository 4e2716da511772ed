// Package imgcmd holds the verbs about local images: pull, images, rmi, tag,
// untag, save, load, import, and those below image.
package imgcmd
