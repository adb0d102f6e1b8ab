//! Rows that came with one call, or were merged from older chunks: never changed, but for the bits that say which live, and for values
//! of fixed width, which are written over where the row is ([`overwrite`]). Who froze the rows keeps them as they were.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, MutableArrayData, PrimitiveArray, downcast_primitive, make_array,
};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{concat, filter};
use arrow::datatypes::{ArrowPrimitiveType, DataType};
use millstream_core::{Error, Result};

use super::arrow_error;
use super::live_rows::LiveRows;
use super::slot::Slot;
use super::spill::{Charge, StateMemory};

/// What a chunk costs beside its rows: array headers, reference counts, its places in lists.
const CHUNK_OVERHEAD_BYTES: usize = 512;

/// The columns of a chunk.
#[derive(Debug)]
pub struct ChunkRows {
    /// In row format.
    pub keys: BinaryArray,
    pub expiry: Option<Int64Array>,
    pub values: Vec<ArrayRef>,
    /// Held as long as the rows are, which a frozen view may do longer than the table.
    charge: Charge,
}

/// A chunk and which of its rows live.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub rows: Arc<ChunkRows>,
    live: LiveRows,
}

impl ChunkRows {
    /// Columns of a caller; a slice of something much larger is copied, so that it does not keep that alive.
    pub fn new(keys: BinaryArray, expiry: Option<Int64Array>, values: &[ArrayRef]) -> Result<Self> {
        let expiry = expiry.filter(|expiry| expiry.null_count() < expiry.len());
        Ok(Self {
            keys: BinaryArray::from(owned(&keys)?.to_data()),
            expiry: expiry.map(|expiry| Ok::<_, Error>(Int64Array::from(owned(&expiry)?.to_data()))).transpose()?,
            values: values.iter().map(|column| owned(column)).collect::<Result<_>>()?,
            charge: Charge::default(),
        })
    }

    /// The rows count against the memory from here on.
    pub fn charged(mut self, memory: &StateMemory) -> Self {
        self.charge = memory.charge(self.bytes());
        self
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
        Self { live: LiveRows::new(rows.n_rows()), rows: Arc::new(rows) }
    }

    pub fn n_live(&self) -> usize {
        self.live.n_live()
    }

    /// Marks a row dead.
    pub fn kill(&mut self, row: usize) {
        self.live.kill(row);
    }

    /// Whether dead rows take more room than live ones.
    pub fn is_sparse(&self) -> bool {
        self.live.is_sparse()
    }

    pub fn live_bytes(&self) -> usize {
        self.live.bytes()
    }

    /// The live rows: their numbers in the chunk.
    pub fn live_rows(&self) -> impl Iterator<Item = usize> {
        self.live.iter()
    }

    /// Whether its values, all of fixed width, can be written over: none is null.
    pub fn can_be_overwritten(&self) -> bool {
        self.rows.values.iter().all(|column| column.null_count() == 0)
    }

    /// The rows, to be changed. If a frozen view has them, it keeps them as they are.
    fn rows_mut(&mut self, memory: &StateMemory) -> Result<&mut ChunkRows> {
        if Arc::get_mut(&mut self.rows).is_none() {
            let ChunkRows { keys, expiry, values, .. } = self.rows.as_ref();
            let (keys, expiry, values) = (keys.clone(), expiry.clone(), values.clone());
            self.rows = Arc::new(ChunkRows { keys, expiry, values, charge: Charge::default() }.charged(memory));
        }
        Arc::get_mut(&mut self.rows).ok_or_else(|| Error::internal("rows of a store that nobody else has are shared"))
    }

    /// A column of the chunk without its dead rows.
    pub fn only_live(&self, column: &dyn Array) -> Result<ArrayRef> {
        if self.n_live() == self.rows.n_rows() {
            return Ok(column.slice(0, column.len()));
        }
        filter(column, &BooleanArray::new(self.live.mask(), None)).map_err(arrow_error)
    }
}

/// A row that gets new values: the chunk's place in a list, the row in the chunk, and the row that it gets.
#[derive(Debug, Clone, Copy)]
pub struct NewValue {
    pub place: usize,
    pub row: usize,
    pub from: usize,
}

/// Whether values of this type can be written over where they are.
pub fn has_fixed_width(data_type: &DataType) -> bool {
    macro_rules! yes {
        ($type:ty) => {
            true
        };
    }
    downcast_primitive! { data_type => (yes), _ => false }
}

/// Writes values over those of rows of some chunks; [`Chunk::can_be_overwritten`] all, and [`has_fixed_width`] and no nulls the values.
pub fn overwrite(chunks: &mut [&mut Chunk], memory: &StateMemory, news: &[NewValue], values: &[ArrayRef]) -> Result<()> {
    let taken = chunks.iter_mut().map(|chunk| Ok(std::mem::take(&mut chunk.rows_mut(memory)?.values)));
    let mut columns = taken.collect::<Result<Vec<Vec<ArrayRef>>>>()?;
    let mut outcome = Ok(());
    for (at, new) in values.iter().enumerate() {
        let mut of_chunks: Vec<&mut ArrayRef> = columns.iter_mut().filter_map(|columns| columns.get_mut(at)).collect();
        macro_rules! write {
            ($type:ty) => {
                overwrite_column::<$type>(&mut of_chunks, new, news)
            };
        }
        let written = downcast_primitive! {
            new.data_type() => (write),
            other => Err(Error::internal(format!("values of type {other} were to be written over others"))),
        };
        outcome = outcome.and(written);
    }
    for (chunk, columns) in chunks.iter_mut().zip(columns) {
        chunk.rows_mut(memory)?.values = columns;
    }
    outcome
}

fn overwrite_column<T: ArrowPrimitiveType>(columns: &mut [&mut ArrayRef], new: &ArrayRef, news: &[NewValue]) -> Result<()> {
    let no_type = || Error::internal("a column of a store has another type than its schema says");
    let new = new.as_primitive_opt::<T>().ok_or_else(no_type)?;
    let mut open = columns.iter_mut().map(|column| values_of::<T>(column).ok_or_else(no_type)).collect::<Result<Vec<_>>>()?;
    for NewValue { place, row, from } in news {
        if let (Some(value), Some(new)) = (open.get_mut(*place).and_then(|values| values.get_mut(*row)), new.values().get(*from)) {
            *value = *new;
        }
    }
    for (column, values) in columns.iter_mut().zip(open) {
        **column = Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(values), None).with_data_type(new.data_type().clone()));
    }
    Ok(())
}

/// The values of a column, which is empty then; copied if anybody else has them, too.
fn values_of<T: ArrowPrimitiveType>(column: &mut ArrayRef) -> Option<Vec<T::Native>> {
    let array = column.as_primitive_opt::<T>()?.clone();
    *column = Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::default(), None).with_data_type(array.data_type().clone()));
    let (_, values, _) = array.into_parts();
    Some(values.into_inner().into_vec().unwrap_or_else(|shared| ScalarBuffer::<T::Native>::from(shared).to_vec()))
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
