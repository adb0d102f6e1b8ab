//! Numbers for the keys of a batch, in the order in which they come up.
//!
//! Keys become bytes and are hashed here, once: with that they are looked for in a table, and put into it.

use arrow::array::{ArrayRef, BinaryArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Fields;
use millstream_core::{Error, Result};

use super::arrow_error;
use super::index::{KEYS_AT_ONCE, KeyIndex, Keys};
use super::key::{HashedKeys, KeyCodec};
use super::slot::Slot;

/// The keys of a batch, each once, equal as in a [`KeyedTable`](super::KeyedTable).
#[derive(Debug)]
pub struct KeyNumbers {
    codec: KeyCodec,
    /// A key's slot is its number.
    index: KeyIndex,
    keys: NumberedKeys,
}

/// Keys by their numbers.
#[derive(Debug)]
struct NumberedKeys {
    bytes: Vec<u8>,
    /// Where each key begins, and the last one ends.
    offsets: Vec<i32>,
    hashes: Vec<u64>,
}

impl KeyNumbers {
    /// For keys of these types.
    pub fn new(fields: &Fields) -> Result<Self> {
        Ok(Self { codec: KeyCodec::new(fields)?, index: KeyIndex::default(), keys: NumberedKeys::default() })
    }

    /// How many keys there are.
    pub fn n_keys(&self) -> usize {
        self.keys.hashes.len()
    }

    /// The number of each of `keys`. Those that are new get the next ones.
    pub fn number(&mut self, keys: &[ArrayRef], numbers: &mut Vec<usize>) -> Result<()> {
        let keys = self.codec.hashed(keys)?;
        numbers.clear();
        numbers.reserve(keys.len());
        let mut found = Vec::with_capacity(KEYS_AT_ONCE);
        for first in (0..keys.len()).step_by(KEYS_AT_ONCE) {
            let last = keys.len().min(first + KEYS_AT_ONCE);
            found.clear();
            self.index.find_some(&self.keys, &keys, first, last, &mut found);
            for (key, known) in keys.among(first, last).zip(&found) {
                // It may have come up just before.
                let number = match known.or_else(|| self.index.find(&self.keys, key)) {
                    Some(number) => number,
                    None => {
                        self.index.reserve_one(&self.keys);
                        let number = Slot::new(self.n_keys()).ok_or_else(too_many)?;
                        self.keys.push(key.hash, key.bytes)?;
                        self.index.insert(&self.keys, key.hash, number);
                        number
                    }
                };
                numbers.push(number.idx());
            }
        }
        Ok(())
    }

    /// The keys from a number on.
    pub fn keys_from(&self, number: usize) -> Result<HashedKeys> {
        let NumberedKeys { bytes, offsets, hashes } = &self.keys;
        let Some(offsets @ [begin, ..]) = offsets.get(number..) else {
            return Err(Error::internal(format!("keys from the {number}th on were asked for, of {}", self.n_keys())));
        };
        let bytes = usize::try_from(*begin).ok().and_then(|begin| bytes.get(begin..)).unwrap_or_default();
        hashed(NumberedKeys {
            bytes: bytes.to_vec(),
            offsets: offsets.iter().map(|offset| offset - begin).collect(),
            hashes: hashes.get(number..).unwrap_or_default().to_vec(),
        })
    }

    /// All keys, and as columns. There are none any more.
    pub fn take(&mut self) -> Result<(HashedKeys, Vec<ArrayRef>)> {
        self.index = KeyIndex::default();
        let keys = hashed(std::mem::take(&mut self.keys))?;
        let columns = self.codec.decode(keys.bytes().iter().flatten())?;
        Ok((keys, columns))
    }
}

impl Default for NumberedKeys {
    fn default() -> Self {
        Self { bytes: Vec::new(), offsets: vec![0], hashes: Vec::new() }
    }
}

impl NumberedKeys {
    fn push(&mut self, hash: u64, key: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(key);
        self.offsets.push(i32::try_from(self.bytes.len()).map_err(|_| too_many())?);
        self.hashes.push(hash);
        Ok(())
    }
}

impl Keys for NumberedKeys {
    fn key(&self, slot: Slot) -> Option<&[u8]> {
        let (begin, end) = (*self.offsets.get(slot.idx())?, *self.offsets.get(slot.idx() + 1)?);
        self.bytes.get(usize::try_from(begin).ok()?..usize::try_from(end).ok()?)
    }

    fn n_keys(&self) -> usize {
        self.hashes.len()
    }

    fn hashes(&self) -> impl Iterator<Item = (u64, Slot)> {
        self.hashes.iter().enumerate().filter_map(|(number, hash)| Some((*hash, Slot::new(number)?)))
    }
}

fn hashed(keys: NumberedKeys) -> Result<HashedKeys> {
    let NumberedKeys { bytes, offsets, hashes } = keys;
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let bytes = BinaryArray::try_new(offsets, Buffer::from_vec(bytes), None).map_err(arrow_error)?;
    Ok(HashedKeys::with_hashes(bytes, hashes))
}

fn too_many() -> Error {
    Error::exhausted("the keys of one batch in one task are over the limit of 2 GiB")
        .hint("use smaller batches (maxBytesPerBatch, maxFilesPerTrigger) or a higher parallelism")
}
