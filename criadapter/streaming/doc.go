// Package streaming serves the connections that Exec, Attach and PortForward are
// answered with: HTTP that is upgraded to SPDY/3.1 or to a WebSocket, with
// several streams on it.
//
// A ticket is what such a call leaves behind: it is redeemed once, within a
// minute, by the token in the URL. A session is a client's connection, from the
// upgrade to its end: when the client goes, what the session runs is told by its
// context, and when what it runs has ended, the connection ends.
//
// The protocols are those of k8s.io/streaming, port forwarding that of
// k8s.io/cri-streaming. For remote commands the latter's server is not used: it
// speaks no v5 WebSockets (kubectl's and crictl's), does not see a client go who
// has no stdin, and keeps a connection for ever whose client did not create its
// streams; its tokens have 48 bits, and its routing is a framework of its own.
package streaming
