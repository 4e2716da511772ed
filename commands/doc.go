// Package commands is davit's command line: it makes the root command out of the
// verbs of its subpackages, runs it, and turns errors into exit codes and words.
//
// To add a verb: write it in the package of its noun as a function that takes a
// *cli.Env and returns a *cobra.Command, with an options struct whose parsing is
// tested by itself; name it in that package's Commands; run `make generate`.
package commands

//go:generate go run -buildvcs=false -tags=containers_image_openpgp ../cmd/davit man --dir ../man
//go:generate go run -buildvcs=false -tags=containers_image_openpgp ../cmd/davit completion --dir ../completions
