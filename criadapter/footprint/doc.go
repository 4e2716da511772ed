// Package footprint keeps the resident memory of a process that stays small: of its
// program, the pages that it uses, and not those that its start has used or that lie
// beside them.
package footprint
