//! Rows that came with one call, or were merged from older chunks: never changed, but for the bits that say which live.
//!
//! The bits are shared with frozen views and copied when they change under one, so that freezing costs nothing per row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, Int64Array, MutableArrayData, make_array};
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::compute::{concat, filter};
use millstream_core::{Error, Result};

use super::arrow_error;
use super::slot::Slot;

/// What a chunk costs beside its rows: array headers, reference counts, its places in lists.
const CHUNK_OVERHEAD_BYTES: usize = 512;

/// The columns of a chunk.
#[derive(Debug)]
pub struct ChunkRows {
    /// In row format.
    pub keys: BinaryArray,
    pub expiry: Option<Int64Array>,
    pub values: Vec<ArrayRef>,
}

/// A chunk and which of its rows live.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub rows: Arc<ChunkRows>,
    live: Arc<Vec<u64>>,
    n_live: usize,
}

impl ChunkRows {
    /// Columns of a caller; a slice of something much larger is copied, so that it does not keep that alive.
    pub fn new(keys: BinaryArray, expiry: Option<Int64Array>, values: &[ArrayRef]) -> Result<Self> {
        let expiry = expiry.filter(|expiry| expiry.null_count() < expiry.len());
        Ok(Self {
            keys: BinaryArray::from(owned(&keys)?.to_data()),
            expiry: expiry.map(|expiry| Ok::<_, Error>(Int64Array::from(owned(&expiry)?.to_data()))).transpose()?,
            values: values.iter().map(|column| owned(column)).collect::<Result<_>>()?,
        })
    }

    pub fn n_rows(&self) -> usize {
        self.keys.len()
    }

    pub fn bytes(&self) -> usize {
        let expiry = self.expiry.as_ref().map_or(0, |expiry| expiry.get_buffer_memory_size());
        let values = self.values.iter().map(|column| column.get_buffer_memory_size());
        self.keys.get_buffer_memory_size() + expiry + values.sum::<usize>() + CHUNK_OVERHEAD_BYTES
    }
}

impl Chunk {
    /// All rows live.
    pub fn new(rows: ChunkRows) -> Self {
        let n_live = rows.n_rows();
        let mut live = vec![u64::MAX; n_live.div_ceil(64)];
        if let (Some(last), used @ 1..) = (live.last_mut(), n_live % 64) {
            *last >>= 64 - used;
        }
        Self { rows: Arc::new(rows), live: Arc::new(live), n_live }
    }

    pub fn n_live(&self) -> usize {
        self.n_live
    }

    pub fn is_live(&self, row: usize) -> bool {
        self.live.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Marks a row dead.
    pub fn kill(&mut self, row: usize) {
        if self.is_live(row)
            && let Some(word) = Arc::make_mut(&mut self.live).get_mut(row / 64)
        {
            *word &= !(1 << (row % 64));
            self.n_live -= 1;
        }
    }

    /// Whether dead rows take more room than live ones.
    pub fn is_sparse(&self) -> bool {
        self.n_live * 2 < self.rows.n_rows()
    }

    pub fn live_bytes(&self) -> usize {
        self.live.len() * 8
    }

    /// The live rows, and their numbers in the chunk.
    pub fn live_rows(&self) -> impl Iterator<Item = usize> {
        self.live.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                rest &= rest.checked_sub(1)?;
                Some(at * 64 + bit as usize)
            })
        })
    }

    /// A column of the chunk without its dead rows.
    pub fn only_live(&self, column: &dyn Array) -> Result<ArrayRef> {
        if self.n_live == self.rows.n_rows() {
            return Ok(column.slice(0, column.len()));
        }
        let bits = BooleanBuffer::new(Buffer::from_vec(self.live.as_ref().clone()), 0, self.rows.n_rows());
        filter(column, &BooleanArray::new(bits, None)).map_err(arrow_error)
    }
}

/// The live rows of several chunks as one, in their order.
pub fn merge<'a>(chunks: impl Iterator<Item = &'a Chunk> + Clone) -> Result<ChunkRows> {
    let merged = |columns: Vec<ArrayRef>| -> Result<ArrayRef> {
        let columns: Vec<&dyn Array> = columns.iter().map(|column| column.as_ref()).collect();
        concat(&columns).map_err(arrow_error)
    };
    let keys = merged(chunks.clone().map(|chunk| chunk.only_live(&chunk.rows.keys)).collect::<Result<_>>()?)?;
    let expiry = if chunks.clone().any(|chunk| chunk.rows.expiry.is_some()) {
        let columns = chunks.clone().map(|chunk| match &chunk.rows.expiry {
            Some(expiry) => chunk.only_live(expiry),
            None => Ok(Arc::new(Int64Array::new_null(chunk.n_live())) as ArrayRef),
        });
        Some(Int64Array::from(merged(columns.collect::<Result<_>>()?)?.to_data()))
    } else {
        None
    };
    let n_values = chunks.clone().next().map_or(0, |chunk| chunk.rows.values.len());
    let values = (0..n_values).map(|at| {
        let column = |chunk: &'a Chunk| chunk.rows.values.get(at).map(|column| chunk.only_live(column.as_ref()));
        merged(chunks.clone().filter_map(column).collect::<Result<_>>()?)
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    ChunkRows::new(BinaryArray::from(keys.to_data()), expiry, &values)
}

/// The array, copied if it holds on to more than twice its own bytes.
fn owned(array: &dyn Array) -> Result<ArrayRef> {
    let data = array.to_data();
    let own = data.get_slice_memory_size().unwrap_or(usize::MAX);
    if array.get_buffer_memory_size() <= own.saturating_mul(2).saturating_add(256) {
        return Ok(array.slice(0, array.len()));
    }
    let mut copy = MutableArrayData::new(vec![&data], false, array.len());
    copy.try_extend(0, 0, array.len()).map_err(arrow_error)?;
    Ok(make_array(copy.freeze()))
}

/// The slots of a chunk's rows; a row that never got one is `None`.
pub type RowSlots = Vec<Option<Slot>>;
