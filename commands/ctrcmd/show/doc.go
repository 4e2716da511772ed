// Package show is what containers and pods look like to people and programs:
// the rows of ps, the objects of inspect, and their states in words.
//
// Terms: a row is one line of a list (see package commands/cli); an object is
// what inspect prints, with the field names that podman's has. It is pure: what
// it needs to know comes in a World, which is read once.
package show
