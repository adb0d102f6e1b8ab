//! The files that were read: a compact set, 128 bits of hash and a time per file, never the names.
//!
//! A million files take 32 to 64 MB. Two different names share a hash with a chance of 2^-88 at a million files; then one
//! of them would not be read. Entries older than the age limit leave when they are half of the set.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use bytes::Bytes;
use millstream_core::{Error, Result};

const MAGIC: &[u8; 8] = b"MSSEEN\x00\x01";

/// The set.
#[derive(Debug, Default, Clone)]
pub(super) struct SeenFiles {
    /// Hash of the name -> modification time.
    files: HashMap<u128, i64, BuildHasherDefault<FirstEight>>,
    /// The newest modification time ever added.
    newest_us: Option<i64>,
    /// Files older than this are taken as seen; moved by [`SeenFiles::purge`].
    oldest_us: Option<i64>,
    n_after_purge: usize,
}

/// The keys are hashes already.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct FirstEight(u64);

impl Hasher for FirstEight {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

impl SeenFiles {
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether a file of this name was not read, as far as the name tells.
    pub(super) fn is_new_name(&self, key: u128) -> bool {
        !self.files.contains_key(&key)
    }

    /// Whether a file of this time is young enough to be read.
    pub(super) fn is_young(&self, mtime_us: i64) -> bool {
        self.oldest_us.is_none_or(|oldest| mtime_us >= oldest)
    }

    pub(super) fn add(&mut self, key: u128, mtime_us: i64) {
        self.files.insert(key, mtime_us);
        self.newest_us = self.newest_us.max(Some(mtime_us));
    }

    /// Moves the age limit to `age_us` before the newest file.
    pub(super) fn purge(&mut self, age_us: i64) {
        let Some(newest) = self.newest_us else { return };
        self.oldest_us = self.oldest_us.max(Some(newest.saturating_sub(age_us)));
        // A scan per batch would be quadratic; entries below the limit do no harm but to memory.
        if self.files.len() > 2 * self.n_after_purge.max(5_000) {
            let oldest = self.oldest_us.unwrap_or(i64::MIN);
            self.files.retain(|_, mtime_us| *mtime_us >= oldest);
            self.files.shrink_to_fit();
            self.n_after_purge = self.files.len();
        }
    }

    /// The set as bytes; `offset` rides along.
    pub(super) fn encode(&self, offset: i64) -> Bytes {
        let mut bytes = Vec::with_capacity(40 + self.files.len() * 24);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&self.newest_us.unwrap_or(i64::MIN).to_le_bytes());
        bytes.extend_from_slice(&self.oldest_us.unwrap_or(i64::MIN).to_le_bytes());
        bytes.extend_from_slice(&(self.files.len() as u64).to_le_bytes());
        let mut files: Vec<(&u128, &i64)> = self.files.iter().collect();
        files.sort_unstable();
        for (key, mtime_us) in files {
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&mtime_us.to_le_bytes());
        }
        Bytes::from(bytes)
    }

    /// The set and the offset of [`SeenFiles::encode`].
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, i64)> {
        let damaged = || Error::data("the snapshot of the files that were read is damaged");
        let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(damaged)?;
        let mut word = || -> Result<i64> {
            let (head, tail) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
            rest = tail;
            Ok(i64::from_le_bytes(*head))
        };
        let (offset, newest, oldest, n_files) = (word()?, word()?, word()?, word()?);
        let n_files = usize::try_from(n_files).map_err(|_| damaged())?;
        if rest.len() != n_files.saturating_mul(24) {
            return Err(damaged());
        }
        let mut seen = Self {
            newest_us: (newest != i64::MIN).then_some(newest),
            oldest_us: (oldest != i64::MIN).then_some(oldest),
            n_after_purge: n_files,
            ..Self::default()
        };
        seen.files.reserve(n_files);
        for entry in rest.chunks_exact(24) {
            let (key, mtime) = entry.split_first_chunk::<16>().ok_or_else(damaged)?;
            let mtime = mtime.first_chunk::<8>().ok_or_else(damaged)?;
            seen.files.insert(u128::from_le_bytes(*key), i64::from_le_bytes(*mtime));
        }
        Ok((seen, offset))
    }
}

/// 128 bits of a name that stay the same in every version of the program (FNV-1a, then mixed): they are stored.
pub(super) fn name_key(name: &str) -> u128 {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013B;
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in name.bytes() {
        hash ^= u128::from(byte);
        hash = hash.wrapping_mul(PRIME);
    }
    // FNV's low bits are weak for names that differ in one place; fold the high half in.
    hash ^= hash >> 67;
    hash = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    hash ^ (hash >> 64)
}
