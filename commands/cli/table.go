package cli

import (
	"bytes"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// manyRows is where text/tabwriter takes over: it is four times faster, but does
// not know the width of wide characters.
const manyRows = 200

// WriteTable writes rows in aligned columns, two blanks apart, without borders
// and without trailing blanks. No headings: no first line. Control characters in
// cells become blanks.
func WriteTable(w io.Writer, headings []string, rows [][]string) error {
	if len(headings) == 0 && len(rows) == 0 {
		return nil
	}
	clean := make([][]string, 0, len(rows))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = strings.Map(blankControl, c)
		}
		clean = append(clean, cells)
	}
	var buf bytes.Buffer
	render := renderStyled
	if len(rows) > manyRows || len(headings) == 0 {
		render = renderPlain
	}
	if err := render(&buf, headings, clean); err != nil {
		return err
	}
	var out bytes.Buffer
	for line := range bytes.Lines(buf.Bytes()) {
		out.Write(bytes.TrimRight(line, " \n"))
		out.WriteByte('\n')
	}
	_, err := w.Write(out.Bytes())
	return err
}

func blankControl(r rune) rune {
	if isControl(r) {
		return ' '
	}
	return r
}

func renderPlain(w io.Writer, headings []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(headings) > 0 {
		rows = append([][]string{headings}, rows...)
	}
	for _, row := range rows {
		if _, err := io.WriteString(t, strings.Join(row, "\t")+"\n"); err != nil {
			return err
		}
	}
	return t.Flush()
}

func renderStyled(w io.Writer, headings []string, rows [][]string) error {
	t := newTable(w, len(headings))
	t.Header(headings)
	for _, row := range rows {
		if err := t.Append(row); err != nil {
			return err
		}
	}
	return t.Render()
}

// newTable is a table of n columns without borders, as every list is printed.
func newTable(w io.Writer, n int) *tablewriter.Table {
	pad := tw.CellPadding{Global: tw.Padding{Right: "  ", Overwrite: true}, PerColumn: make([]tw.Padding, n)}
	for i := range pad.PerColumn {
		pad.PerColumn[i] = pad.Global
	}
	pad.PerColumn[n-1] = tw.Padding{Overwrite: true}
	cell := tw.CellConfig{
		Formatting: tw.CellFormatting{AutoFormat: tw.Off, AutoWrap: tw.WrapNone},
		Alignment:  tw.CellAlignment{Global: tw.AlignLeft},
		Padding:    pad,
	}
	return tablewriter.NewTable(w,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders:  tw.BorderNone,
			Symbols:  tw.NewSymbols(tw.StyleNone),
			Settings: tw.Settings{Lines: tw.LinesNone, Separators: tw.SeparatorsNone},
		})),
		tablewriter.WithConfig(tablewriter.Config{
			Header: cell, Row: cell,
			Behavior: tw.Behavior{TrimSpace: tw.Off, TrimLine: tw.On},
		}))
}
