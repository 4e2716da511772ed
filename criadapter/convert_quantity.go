package criadapter

import (
	"math/big"
	"strings"
)

// quantity reads a whole number in Kubernetes' notation, "10M", "1.5Gi" or "1e6":
// rounded up, as there. The error says only that it is none.
func quantity(text string) (uint64, error) {
	end := strings.LastIndexAny(text, "0123456789.") + 1
	number, suffix := text[:end], text[end:]
	// big.Rat takes other notations too, and exponents that fill the memory.
	_, exponent, _ := strings.Cut(strings.ToLower(number), "e")
	if len(text) > 40 || len(exponent) > 3 || strings.ContainsAny(number, "/xXbBoOpP_") {
		return 0, invalid("quantity %.40q", text)
	}
	value, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, invalid("quantity %.40q", text)
	}
	factor, ok := map[string]int64{
		"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
		"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60,
	}[suffix]
	divisor := int64(1)
	if suffix == "m" {
		factor, divisor, ok = 1, 1000, true
	}
	value.Mul(value, big.NewRat(factor, divisor))
	if !ok || value.Sign() < 0 {
		return 0, invalid("quantity %.40q", text)
	}
	whole := new(big.Int).Quo(value.Num(), value.Denom())
	if !value.IsInt() {
		whole.Add(whole, big.NewInt(1))
	}
	if !whole.IsUint64() {
		return 0, invalid("quantity %.40q", text)
	}
	return whole.Uint64(), nil
}
