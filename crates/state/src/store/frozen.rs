//! A table as it was at one moment, to be read elsewhere while the table goes on.

use std::sync::Arc;

use arrow::array::Array;
use arrow::array::{ArrayRef, AsArray, Int64Array};
use millstream_core::Result;

use super::chunk::Chunk;
use super::key::KeyCodec;
use super::schema::{StoreRows, StoreSchema};
use super::spill::FrozenRun;

/// The rows of a table at one moment. Shares its chunks and its files, so it is cheap to make and to keep for a while.
#[derive(Debug, Clone)]
pub struct FrozenTable {
    pub(super) schema: Arc<StoreSchema>,
    pub(super) codec: Arc<KeyCodec>,
    pub(super) chunks: Vec<Chunk>,
    pub(super) cold: Vec<FrozenRun>,
}

impl FrozenTable {
    /// The columns.
    pub fn schema(&self) -> &StoreSchema {
        &self.schema
    }

    /// How many rows there are.
    pub fn n_rows(&self) -> usize {
        self.chunks.iter().map(Chunk::n_live).sum::<usize>() + self.cold.iter().map(FrozenRun::n_rows).sum::<usize>()
    }

    /// All rows, in batches of no particular size and order.
    pub fn scan(&self) -> impl Iterator<Item = Result<StoreRows>> {
        self.clone().into_rows()
    }

    /// As [`FrozenTable::scan`]; lets go of rows as they are handed out.
    pub fn into_rows(self) -> impl Iterator<Item = Result<StoreRows>> {
        let Self { codec, chunks, cold, .. } = self;
        let keys = Arc::clone(&codec);
        let in_memory = chunks.into_iter().filter(|chunk| chunk.n_live() > 0).map(move |chunk| live_rows(&chunk, &keys));
        in_memory.chain(cold.into_iter().flat_map(move |run| run.into_rows(Arc::clone(&codec))))
    }

    /// The rows in memory, and those on disk.
    pub(super) fn split(mut self) -> (Self, Self) {
        let cold = std::mem::take(&mut self.cold);
        let on_disk = Self { schema: Arc::clone(&self.schema), codec: Arc::clone(&self.codec), chunks: Vec::new(), cold };
        (self, on_disk)
    }
}

/// The live rows of a chunk with their typed keys.
pub fn live_rows(chunk: &Chunk, codec: &KeyCodec) -> Result<StoreRows> {
    let keys = chunk.only_live(&chunk.rows.keys)?;
    let keys = codec.decode(keys.as_binary::<i32>().iter().flatten())?;
    let expiry = chunk.rows.expiry.as_ref().map(|expiry| chunk.only_live(expiry)).transpose()?;
    let values = chunk.rows.values.iter().map(|column| chunk.only_live(column.as_ref()));
    Ok(StoreRows {
        n_rows: chunk.n_live(),
        keys,
        expiry: expiry.map(|expiry: ArrayRef| Int64Array::from(expiry.to_data())).filter(|expiry| expiry.null_count() < expiry.len()),
        values: values.collect::<Result<_>>()?,
    })
}
