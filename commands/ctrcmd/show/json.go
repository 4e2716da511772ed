package show

import (
	"bytes"
	"encoding/json"
)

// marshalList writes a list that is never null.
func marshalList[T any](list []T) ([]byte, error) {
	if list == nil {
		list = []T{}
	}
	return marshal(list)
}

// marshalMap writes an object that is never null.
func marshalMap[V any](m map[string]V) ([]byte, error) {
	if m == nil {
		m = map[string]V{}
	}
	return marshal(m)
}

// marshal writes JSON without escaping for HTML.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(buf.Bytes()), err
}
