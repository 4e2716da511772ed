// Package layersize measures what containers have written to their root
// filesystems, without walking them each time that somebody asks.
package layersize
