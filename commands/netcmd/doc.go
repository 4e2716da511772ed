// Package netcmd holds the verbs below network.
package netcmd
