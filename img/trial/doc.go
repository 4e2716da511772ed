// Package trial removes what is left where the overlay driver of containers/storage
// tried out, in a folder of its own and with mounts, what the kernel can, and was
// killed. The driver does that once a boot for each thing, and writes down in the
// store's run root what it found; it holds the store's lock, or that of its layers.
package trial
