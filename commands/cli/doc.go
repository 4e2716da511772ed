// Package cli is what a command is given: its streams, the configuration, the
// parts of the engine opened when they are first needed, the ways to print a
// list, and the one mapping of errors to exit codes and words.
//
// Terms: an Env is one invocation of davit; a key is a dotted name of a
// configuration setting ("network.default"); a row is one line of a list, whose
// exported fields and methods are what --format templates may name; a hint is
// the command that a person would type next, printed below an error.
//
// A verb is built by a function that takes the Env and returns a fresh
// *cobra.Command, so that it can be mounted under both of its spellings. A
// command package exports
//
//	func Commands(env *cli.Env) []*cobra.Command
//
// which returns the top-level commands of that package, each with a GroupID (see
// InGroup); the root command mounts them as they are.
package cli
