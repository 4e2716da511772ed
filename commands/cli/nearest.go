package cli

import "strings"

// Nearest is the candidate that word was most likely meant to be, empty if none
// is near: the fewest changed letters, or one that begins with word.
func Nearest(word string, candidates []string) string {
	limit := 2
	if len(word) <= 3 {
		limit = 1
	}
	best, found := limit+1, ""
	low := strings.ToLower(word)
	for _, c := range candidates {
		d := distance(low, strings.ToLower(c))
		if len(word) >= 2 && strings.HasPrefix(strings.ToLower(c), low) {
			d = min(d, 1)
		}
		if d < best {
			best, found = d, c
		}
	}
	return found
}

// distance counts the letters to insert, delete, change or swap with their
// neighbour to make b of a.
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before, last, row := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(s); i++ {
		row[0] = i
		for j := 1; j <= len(t); j++ {
			cost := 1
			if s[i-1] == t[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(t)]
}
