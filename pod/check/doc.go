// Package check joins what the parts of davit find that does not agree: records
// with the machine, records with each other, images with what they were. It runs
// beside whatever else is at work: what is under way is no finding.
package check
