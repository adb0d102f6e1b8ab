//! The rows of a task in a batch, by group.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat, concat_batches, take, take_record_batch};
use arrow::datatypes::SchemaRef;
use millstream_core::{Error, Result};
use millstream_state::store::KeyHasher;

/// Rows are put together in pieces of so many bytes, so that the offsets of texts cannot overflow.
const PIECE_BYTES: usize = 1 << 30;

/// Takes rows in and finds their groups, which are numbered by their first appearance.
pub struct Grouper {
    hasher: KeyHasher,
    numbers: HashMap<Box<[u8]>, u32>,
    /// Keys of new groups, call by call.
    keys: Vec<Vec<ArrayRef>>,
    /// What the function sees of a row.
    schema: SchemaRef,
    /// Rows as they came, and the groups of each.
    rows: Vec<(RecordBatch, Vec<u32>)>,
}

/// All groups of a task in a batch.
pub struct Groups {
    /// One row per group.
    pub keys: Vec<ArrayRef>,
    pub n_groups: usize,
    pieces: Vec<Piece>,
}

/// Rows in the order of their groups, within a group in the order in which they came.
struct Piece {
    rows: RecordBatch,
    /// Where the rows of each group begin, and the end of the last.
    starts: Vec<usize>,
}

impl Grouper {
    pub fn new(hasher: KeyHasher, schema: SchemaRef) -> Self {
        Self { hasher, numbers: HashMap::new(), keys: Vec::new(), schema, rows: Vec::new() }
    }

    /// Takes rows in: their keys, and the columns that the function sees.
    pub fn add(&mut self, keys: &[ArrayRef], columns: Vec<ArrayRef>, n_rows: usize) -> Result<()> {
        let groups = self.numbers_of(keys)?;
        let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
        self.rows.push((RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?, groups));
        Ok(())
    }

    /// The groups of keys; new ones have no rows yet.
    pub fn numbers_of(&mut self, keys: &[ArrayRef]) -> Result<Vec<u32>> {
        let bytes = self.hasher.bytes(keys)?;
        let mut groups = Vec::with_capacity(bytes.len());
        let mut firsts = Vec::new();
        for (row, key) in (0_u32..).zip(bytes.iter().flatten()) {
            let group = match self.numbers.get(key) {
                Some(group) => *group,
                None => {
                    let group =
                        u32::try_from(self.numbers.len()).map_err(|_| Error::exhausted("more groups in a batch than 32 bits count"))?;
                    self.numbers.insert(key.into(), group);
                    firsts.push(row);
                    group
                }
            };
            groups.push(group);
        }
        if !firsts.is_empty() {
            let firsts = UInt32Array::from(firsts);
            self.keys.push(keys.iter().map(|key| take(key, &firsts, None)).collect::<Result<_, _>>()?);
        }
        Ok(groups)
    }

    /// All that came, by group.
    pub fn finish(self) -> Result<Groups> {
        let n_groups = self.numbers.len();
        let mut pieces = Vec::new();
        let (mut rows, mut groups, mut n_bytes) = (Vec::new(), Vec::new(), 0);
        for (batch, of_batch) in self.rows {
            n_bytes += batch.get_array_memory_size();
            rows.push(batch);
            groups.extend(of_batch);
            if n_bytes >= PIECE_BYTES {
                pieces.push(piece(&self.schema, &rows, &groups, n_groups)?);
                (rows, groups, n_bytes) = (Vec::new(), Vec::new(), 0);
            }
        }
        if !rows.is_empty() {
            pieces.push(piece(&self.schema, &rows, &groups, n_groups)?);
        }
        Ok(Groups { keys: concatenated(&self.keys)?, n_groups, pieces })
    }
}

impl Groups {
    /// The rows of a group.
    pub fn rows(&self, group: usize) -> Vec<RecordBatch> {
        let of_piece = |piece: &Piece| {
            let (start, end) = (*piece.starts.get(group)?, *piece.starts.get(group + 1)?);
            (start < end).then(|| piece.rows.slice(start, end - start))
        };
        self.pieces.iter().filter_map(of_piece).collect()
    }
}

/// Columns of several calls, one below the other.
pub fn concatenated(calls: &[Vec<ArrayRef>]) -> Result<Vec<ArrayRef>> {
    let n_columns = calls.first().map_or(0, Vec::len);
    let column = |idx: usize| {
        let parts: Vec<_> = calls.iter().filter_map(|columns| columns.get(idx)).map(AsRef::as_ref).collect();
        Ok(concat(&parts)?)
    };
    (0..n_columns).map(column).collect()
}

/// Sorts by counting: groups are small numbers.
fn piece(schema: &SchemaRef, rows: &[RecordBatch], groups: &[u32], n_groups: usize) -> Result<Piece> {
    let rows = concat_batches(schema, rows)?;
    let mut starts = vec![0_usize; n_groups + 1];
    for group in groups {
        if let Some(count) = starts.get_mut(*group as usize + 1) {
            *count += 1;
        }
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut next = starts.clone();
    let mut order = vec![0_u32; groups.len()];
    for (row, group) in (0_u32..).zip(groups) {
        if let Some(place) = next.get_mut(*group as usize) {
            if let Some(at) = order.get_mut(*place) {
                *at = row;
            }
            *place += 1;
        }
    }
    Ok(Piece { rows: take_record_batch(&rows, &UInt32Array::from(order))?, starts })
}
