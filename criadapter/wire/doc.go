// Package wire looks at messages as they come from a client, whatever they are
// about: it decodes them and refuses what no request may be.
package wire
