package cli

import (
	"bytes"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
)

// WriteTable writes rows in aligned columns, two blanks apart, without borders
// and without trailing blanks. No headings: no first line. Control characters in
// cells become blanks.
func WriteTable(w io.Writer, headings []string, rows [][]string) error {
	lines := make([][]string, 0, len(rows)+1)
	if len(headings) > 0 {
		lines = append(lines, headings)
	}
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = strings.Map(blankControl, c)
		}
		lines = append(lines, cells)
	}
	var out bytes.Buffer
	columns := columnWidths(lines)
	for _, cells := range lines {
		start := out.Len()
		for i, c := range cells {
			out.WriteString(c)
			if i < len(cells)-1 {
				for range columns[i] - width(c) + 2 {
					out.WriteByte(' ')
				}
			}
		}
		out.Truncate(start + len(bytes.TrimRight(out.Bytes()[start:], " ")))
		out.WriteByte('\n')
	}
	_, err := w.Write(out.Bytes())
	return err
}

// columnWidths are the widths of the widest cells.
func columnWidths(lines [][]string) []int {
	var widths []int
	for _, cells := range lines {
		for len(widths) < len(cells) {
			widths = append(widths, 0)
		}
		for i, c := range cells {
			widths[i] = max(widths[i], width(c))
		}
	}
	return widths
}

// width is what a cell takes of a terminal's line.
func width(cell string) int {
	for i := range len(cell) {
		if cell[i] >= 0x80 {
			return runewidth.StringWidth(cell)
		}
	}
	return len(cell)
}

func blankControl(r rune) rune {
	if isControl(r) {
		return ' '
	}
	return r
}
