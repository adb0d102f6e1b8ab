//! Rows as the text table of Spark's `show`: boxes side by side, or one record below the other.
//!
//! Right-aligned when cells are cut, left-aligned when not; a wide character (Chinese, emoji) takes two places. The
//! text ends without a line break where Spark's does, because its `show` prints one behind it.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use millstream_core::Result;

use crate::datetime::{IntervalRange, Zone};
use crate::value_text::{ValueStyle, push_value};

/// Spark makes no column narrower.
const WIDTH_MIN: usize = 3;

/// How a table is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TableLayout {
    /// A line per row.
    #[default]
    Horizontal,
    /// A line per column of each row.
    Vertical,
}

/// How much of the rows is printed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableOptions {
    /// How many rows; if there are more, the table says so.
    pub n_rows: usize,
    /// Cells are cut at so many characters (with `...`); `None` = not at all. Names are never cut.
    pub width_max: Option<usize>,
    /// Side by side, or one record below the other.
    pub layout: TableLayout,
}

/// The head of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// For intervals: the fields that are shown.
    pub range: Option<IntervalRange>,
}

impl TableColumn {
    /// The columns of a schema.
    pub fn of(schema: &Schema) -> Vec<Self> {
        schema.fields().iter().map(|field| Self { name: field.name().clone(), range: None }).collect()
    }
}

/// The first rows as text.
pub fn table_text(columns: &[TableColumn], rows: &[RecordBatch], options: &TableOptions, zone: Zone) -> Result<String> {
    let names: Vec<Cell> = columns.iter().map(|column| Cell::new(escape(&column.name))).collect();
    let styles: Vec<ValueStyle> = columns.iter().map(|column| ValueStyle::show(zone).with_range(column.range)).collect();
    let mut lines: Vec<Vec<Cell>> = Vec::new();
    for batch in rows {
        for row in 0..batch.num_rows().min(options.n_rows.saturating_sub(lines.len())) {
            let cells = batch.columns().iter().zip(&styles).map(|(column, style)| {
                let mut text = String::new();
                push_value(&mut text, column.as_ref(), row, style)?;
                Ok(Cell::new(cut(&escape(&text), options.width_max)))
            });
            lines.push(cells.collect::<Result<_>>()?);
        }
    }
    let mut text = match options.layout {
        TableLayout::Horizontal => boxes(&names, &lines, options.width_max.is_some()),
        TableLayout::Vertical => records(&names, &lines),
    };
    let n_total: usize = rows.iter().map(RecordBatch::num_rows).sum();
    if options.layout == TableLayout::Vertical && lines.is_empty() {
        text.push_str("(0 rows)");
    } else if n_total > options.n_rows {
        let plural = if options.n_rows == 1 { "row" } else { "rows" };
        text.push_str(&format!("only showing top {} {plural}", options.n_rows));
    }
    Ok(text)
}

/// A text and the places it takes on a terminal.
struct Cell {
    text: String,
    width: usize,
}

impl Cell {
    fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        // Characters outside the basic plane (emoji) have two units, and are about as wide.
        let width = text.chars().map(|c| c.len_utf16() + usize::from(is_full_width(c))).sum();
        Self { text, width }
    }

    fn push_right(&self, out: &mut String, width: usize) {
        out.extend(std::iter::repeat_n(' ', width.saturating_sub(self.width)));
        out.push_str(&self.text);
    }

    fn push_left(&self, out: &mut String, width: usize) {
        out.push_str(&self.text);
        out.extend(std::iter::repeat_n(' ', width.saturating_sub(self.width)));
    }
}

fn boxes(names: &[Cell], lines: &[Vec<Cell>], is_cut: bool) -> String {
    let widths: Vec<usize> = names
        .iter()
        .enumerate()
        .map(|(idx, name)| lines.iter().filter_map(|line| line.get(idx)).map(|cell| cell.width).fold(name.width.max(WIDTH_MIN), usize::max))
        .collect();
    let rule = format!("+{}+\n", widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("+"));
    let mut text = rule.clone();
    let push_line = |text: &mut String, cells: &[Cell]| {
        text.push('|');
        for (idx, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            if idx > 0 {
                text.push('|');
            }
            match is_cut {
                true => cell.push_right(text, *width),
                false => cell.push_left(text, *width),
            }
        }
        text.push_str("|\n");
    };
    push_line(&mut text, names);
    text.push_str(&rule);
    for line in lines {
        push_line(&mut text, line);
    }
    text.push_str(&rule);
    text
}

fn records(names: &[Cell], lines: &[Vec<Cell>]) -> String {
    let name_width = names.iter().map(|name| name.width).fold(WIDTH_MIN, usize::max);
    let cell_width = lines.iter().flatten().map(|cell| cell.width).fold(WIDTH_MIN, usize::max);
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let head = format!("-RECORD {number}");
        // Five places for the spaces and the bar of the lines below.
        text.push_str(&format!("{head:-<width$}\n", width = name_width + cell_width + 5));
        for (name, cell) in names.iter().zip(line) {
            text.push(' ');
            name.push_left(&mut text, name_width);
            text.push_str(" | ");
            cell.push_left(&mut text, cell_width);
            text.push_str(" \n");
        }
    }
    text
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{7}' => out.push_str("\\a"),
            c => out.push(c),
        }
    }
    out
}

/// Cuts as Java does, which counts UTF-16 units; half a character is printed as `?`.
fn cut(text: &str, width_max: Option<usize>) -> String {
    let Some(max) = width_max.filter(|max| text.encode_utf16().count() > *max) else { return text.to_owned() };
    let (n_kept, dots) = if max < 4 { (max, "") } else { (max - 3, "...") };
    let mut out = String::new();
    let mut n_left = n_kept;
    for c in text.chars() {
        let Some(n) = n_left.checked_sub(c.len_utf16()) else { break };
        n_left = n;
        out.push(c);
    }
    if n_left > 0 {
        out.push('?');
    }
    out.push_str(dots);
    out
}

/// Spark's list of characters that take two places.
fn is_full_width(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{115F}' | '\u{2E80}'..='\u{A4CF}' | '\u{AC00}'..='\u{D7A3}' | '\u{F900}'..='\u{FAFF}'
        | '\u{FE30}'..='\u{FE6F}' | '\u{FF00}'..='\u{FF60}' | '\u{FFE0}'..='\u{FFE6}')
}

#[cfg(test)]
mod tests;
