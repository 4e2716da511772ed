// Package syscmd holds the verbs about davit itself and its host: version, info,
// config, completion.
package syscmd
