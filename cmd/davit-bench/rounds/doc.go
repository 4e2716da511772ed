// Package rounds measures subjects against each other: all of them once a round,
// each round beginning with another one, so that what the machine does meanwhile
// falls on all alike.
package rounds
