// Package wire looks at messages as they come from a client and go to one, whatever
// they are about: it decodes them, refuses what no request may be, and encodes lists.
package wire
