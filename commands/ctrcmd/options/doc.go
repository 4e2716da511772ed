// Package options turns the flags that make containers and pods into the values
// that the engine takes.
//
// Terms: a group is a handful of flags about one thing, shown under one heading
// of the help; a plan is what all flags of a command ask for. Commands embed the
// groups that they have, add their flags with Flags, and call the group's method
// that fills a configuration in.
//
// Nothing here opens the engine: what a flag needs of its surroundings (the
// user's environment, files that it names, the configuration) comes in a Host.
package options
