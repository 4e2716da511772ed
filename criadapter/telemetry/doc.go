// Package telemetry is what the CRI server tells of itself: figures in
// Prometheus' text format and profiles, over HTTP on one local address, and a
// trace of each call, sent to an OpenTelemetry collector.
//
// Both are off unless asked for. A call is one RPC; its stages are the steps of
// the operations (package record) that it began; its span is the record of both
// in a trace. Figures are counted as calls end and read when somebody asks. A
// span is put into a bounded queue, from which one goroutine sends: a collector
// that is slow or away costs spans, never a call.
package telemetry
