//! Which task keeps a key: hash, then key group, then a contiguous range of groups per task.
//!
//! The number of key groups is fixed for the life of a checkpoint; the number of tasks may change at every restart,
//! because recovery reads typed keys and asks again here. The exchange before a stateful operator asks here as well.

use arrow::array::{ArrayRef, BinaryArray};
use arrow::datatypes::Fields;
use millstream_core::Result;
use twox_hash::XxHash3_64;

use super::key::{HashedKeys, KeyCodec};

/// How many key groups a checkpoint has unless its query says otherwise: the most tasks that can share its state.
pub const KEY_GROUPS: u32 = 256;

/// The hash of a key in row format. Part of the checkpoint's meaning: never changes.
pub fn hash_key(key: &[u8]) -> u64 {
    XxHash3_64::oneshot(key)
}

/// The group of a key, by its hash. Takes bits from the middle: a task's hash table uses the lowest for the place and
/// the highest for the tag, and all keys of a task would have the same ones.
pub fn key_group(hash: u64, n_key_groups: u32) -> u32 {
    scale((hash >> 24) & u64::from(u32::MAX), u64::from(n_key_groups))
}

/// The task that keeps a group, of `parallelism` tasks.
pub fn partition_of(group: u32, n_key_groups: u32, parallelism: u32) -> u32 {
    u32::try_from(u64::from(group) * u64::from(parallelism) / u64::from(n_key_groups.max(1))).unwrap_or(u32::MAX)
}

/// `bits` of 32 as a number below `n`.
fn scale(bits: u64, n: u64) -> u32 {
    u32::try_from((bits * n) >> 32).unwrap_or(u32::MAX)
}

/// Finds the tasks of typed keys, for the exchange before a stateful operator, and what tells keys apart.
#[derive(Debug)]
pub struct KeyHasher(KeyCodec);

impl KeyHasher {
    /// For keys of these types.
    pub fn new(keys: &Fields) -> Result<Self> {
        Ok(Self(KeyCodec::new(keys)?))
    }

    /// Keys as bytes that are equal when the keys are: as in grouping. They are of this process, not of the checkpoint.
    pub fn bytes(&self, keys: &[ArrayRef]) -> Result<BinaryArray> {
        self.0.encode(keys)
    }

    /// Keys as bytes, with their hashes.
    pub fn hashed(&self, keys: &[ArrayRef]) -> Result<HashedKeys> {
        self.0.hashed(keys)
    }

    /// The hash of each key.
    pub fn hashes(&self, keys: &[ArrayRef]) -> Result<Vec<u64>> {
        Ok(self.hashed(keys)?.hashes().to_vec())
    }

    /// The task of each key.
    pub fn partitions(&self, keys: &[ArrayRef], n_key_groups: u32, parallelism: u32) -> Result<Vec<u32>> {
        Ok(partitions_of(self.hashed(keys)?.hashes(), n_key_groups, parallelism))
    }
}

/// The task of each key, by its hash.
pub(super) fn partitions_of(hashes: &[u64], n_key_groups: u32, parallelism: u32) -> Vec<u32> {
    hashes.iter().map(|hash| partition_of(key_group(*hash, n_key_groups), n_key_groups, parallelism)).collect()
}
