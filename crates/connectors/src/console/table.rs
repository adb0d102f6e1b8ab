//! A table as Spark's `show` prints it: right-aligned when cells are cut, left-aligned when not.

use std::fmt::Write;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream_core::Result;

/// The first `num_rows` rows as text, ending with a line break. `width_max` cuts cells (with `...`).
pub fn show_table(schema: &SchemaRef, rows: &[RecordBatch], num_rows: usize, width_max: Option<usize>, time_zone: &str) -> Result<String> {
    let mut lines: Vec<Vec<String>> = vec![schema.fields().iter().map(|field| cut(field.name().clone(), width_max)).collect()];
    let total: usize = rows.iter().map(RecordBatch::num_rows).sum();
    for batch in rows {
        for row_idx in 0..batch.num_rows().min((num_rows + 1).saturating_sub(lines.len())) {
            let cells = batch.columns().iter().map(|column| {
                let mut cell = String::new();
                push_cell(&mut cell, column.as_ref(), row_idx, time_zone)?;
                Ok(cut(escape(&cell), width_max))
            });
            lines.push(cells.collect::<Result<_>>()?);
        }
    }
    // Spark makes no column narrower than three.
    let widths: Vec<usize> = (0..schema.fields().len())
        .map(|idx| lines.iter().filter_map(|line| line.get(idx)).map(|cell| cell.chars().count()).max().unwrap_or(0).max(3))
        .collect();
    let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(*width))).collect::<String>() + "+\n";
    let mut text = rule.clone();
    for (line_idx, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = match width_max {
                Some(_) => write!(text, "|{cell:>width$}"),
                None => write!(text, "|{cell:<width$}"),
            };
        }
        text.push_str("|\n");
        if line_idx == 0 {
            text.push_str(&rule);
        }
    }
    text.push_str(&rule);
    if total > num_rows {
        let plural = if num_rows == 1 { "row" } else { "rows" };
        let _ = writeln!(text, "only showing top {num_rows} {plural}");
    }
    Ok(text)
}

/// Spark's text of a value inside `show`.
fn push_cell(out: &mut String, column: &dyn Array, row_idx: usize, time_zone: &str) -> Result<()> {
    if column.is_null(row_idx) {
        out.push_str("NULL");
        return Ok(());
    }
    match column.data_type() {
        DataType::Struct(_) => {
            out.push('{');
            for (idx, child) in column.as_struct().columns().iter().enumerate() {
                out.push_str(if idx == 0 { "" } else { ", " });
                push_cell(out, child.as_ref(), row_idx, time_zone)?;
            }
            out.push('}');
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row_idx);
            out.push('[');
            for idx in 0..items.len() {
                out.push_str(if idx == 0 { "" } else { ", " });
                push_cell(out, items.as_ref(), idx, time_zone)?;
            }
            out.push(']');
        }
        DataType::Map(..) => {
            let entries = column.as_map().value(row_idx);
            out.push('{');
            for idx in 0..entries.len() {
                out.push_str(if idx == 0 { "" } else { ", " });
                push_cell(out, entries.column(0).as_ref(), idx, time_zone)?;
                out.push_str(" -> ");
                push_cell(out, entries.column(1).as_ref(), idx, time_zone)?;
            }
            out.push('}');
        }
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) | DataType::BinaryView => {
            let hex = ArrayFormatter::try_new(column, &FormatOptions::default())?.value(row_idx).to_string();
            out.push('[');
            for (idx, digit) in hex.to_ascii_uppercase().chars().enumerate() {
                if idx > 0 && idx % 2 == 0 {
                    out.push(' ');
                }
                out.push(digit);
            }
            out.push(']');
        }
        DataType::Timestamp(_, Some(_)) => {
            let cast_to = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some(time_zone.into()));
            let local = arrow::compute::cast(&column.slice(row_idx, 1), &cast_to)?;
            let options = FormatOptions::default().with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.6f"));
            out.push_str(trim_fraction(&ArrayFormatter::try_new(&local, &options)?.value(0).to_string()));
        }
        DataType::Timestamp(_, None) => {
            let options = FormatOptions::default().with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.6f"));
            out.push_str(trim_fraction(&ArrayFormatter::try_new(column, &options)?.value(row_idx).to_string()));
        }
        _ => {
            // Writing to a String fails only when the value cannot be formatted.
            let _ = write!(out, "{}", ArrayFormatter::try_new(column, &FormatOptions::default())?.value(row_idx));
        }
    }
    Ok(())
}

/// `12:00:00.500000` is shown as `12:00:00.5`, and `12:00:00.000000` as `12:00:00`.
fn trim_fraction(text: &str) -> &str {
    text.trim_end_matches('0').strip_suffix('.').unwrap_or_else(|| text.trim_end_matches('0'))
}

fn escape(cell: &str) -> String {
    cell.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t")
}

fn cut(cell: String, width_max: Option<usize>) -> String {
    match width_max {
        Some(max) if cell.chars().count() > max => {
            let kept = if max < 4 { max } else { max - 3 };
            let start: String = cell.chars().take(kept).collect();
            if max < 4 { start } else { start + "..." }
        }
        _ => cell,
    }
}
