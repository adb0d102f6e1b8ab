//! Rows as texts, for comparing tables without regard to batches and order.

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream_core::Result;

/// Each row as one text: `a=1, b=NULL`, in order.
pub fn row_texts(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| Ok((field.name().clone(), ArrayFormatter::try_new(column.as_ref(), &options)?)))
            .collect::<Result<Vec<_>>>()?;
        for row_idx in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|(name, column)| format!("{name}={}", column.value(row_idx))).collect();
            rows.push(cells.join(", "));
        }
    }
    Ok(rows)
}

/// As [`row_texts`], sorted: a multiset of rows.
pub fn sorted_row_texts(batches: &[RecordBatch]) -> Result<Vec<String>> {
    let mut rows = row_texts(batches)?;
    rows.sort();
    Ok(rows)
}
