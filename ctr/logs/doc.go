// Package logs reads the log files that monitors write, in the format of the
// Kubernetes Container Runtime Interface: one line for each piece of output,
//
//	2026-08-21T15:09:13.123456789+00:00 stdout F text
//	2026-08-21T15:09:13.123456789+00:00 stderr P the first part of a longer li
//
// where P marks a piece that has no line feed of its own: what follows in the
// same stream belongs to the same line. [Read] gives back the bytes that the
// container wrote.
//
// A line that is not of this format is passed on to stdout as it is. Other fields
// after the tag's first, separated by colons, are ignored, as the format allows.
package logs
