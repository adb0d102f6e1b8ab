//! Which rows of a segment may have a hash: sixteen bits of each row's hash, in the order of the rows.
//!
//! ```text
//!  hash - first ─► scaled to buckets ─► starts[bucket] .. starts[bucket + 1]: rows ─► those with the same next sixteen bits
//! ```
//! Rows are sorted by hash, so a bucket is a range of rows, and an answer is a place and not only "perhaps": a row that is
//! known to be dead costs no read. About 18 bits a row, and one wrong "perhaps" in 2,000.

use std::ops::Range;

/// Buckets of so many rows; up to twice as many, as hashes need not fill their range.
const ROWS_PER_BUCKET: usize = 16;

/// The hashes of a segment's rows.
#[derive(Debug)]
pub struct HashFilter {
    first: u64,
    /// By so many bits the distance from the first hash can be moved to the left.
    shift: u32,
    /// The first row of each bucket, and the number of rows.
    starts: Vec<u32>,
    tags: Vec<u16>,
}

impl HashFilter {
    /// Of hashes in their order.
    pub fn new(hashes: &[u64]) -> Self {
        let (first, last) = (hashes.first().copied().unwrap_or(0), hashes.last().copied().unwrap_or(0));
        let n_buckets = hashes.len() / ROWS_PER_BUCKET + 1;
        let mut filter = Self {
            first,
            shift: (last - first).leading_zeros().min(63),
            starts: Vec::with_capacity(n_buckets + 1),
            tags: Vec::with_capacity(hashes.len()),
        };
        for (row, hash) in (0_u32..).zip(hashes) {
            let (bucket, tag) = filter.place(*hash, n_buckets);
            while filter.starts.len() <= bucket {
                filter.starts.push(row);
            }
            filter.tags.push(tag);
        }
        filter.starts.resize(n_buckets + 1, u32::try_from(hashes.len()).unwrap_or(u32::MAX));
        filter
    }

    pub fn bytes(&self) -> usize {
        self.starts.capacity() * size_of::<u32>() + self.tags.capacity() * size_of::<u16>()
    }

    /// The rows that may have this hash; all that do are among them.
    pub fn rows(&self, hash: u64) -> Range<usize> {
        if hash < self.first {
            return 0..0;
        }
        let n_buckets = self.starts.len() - 1;
        let (bucket, tag) = self.place(hash, n_buckets);
        let (Some(from), Some(to)) = (self.starts.get(bucket), self.starts.get(bucket + 1)) else { return 0..0 };
        let (from, to) = (*from as usize, *to as usize);
        let tags = self.tags.get(from..to).unwrap_or_default();
        // Sorted by hash means sorted by tag within a bucket.
        let begin = tags.partition_point(|other| *other < tag);
        let n = tags.get(begin..).unwrap_or_default().iter().take_while(|other| **other == tag).count();
        from + begin..from + begin + n
    }

    fn place(&self, hash: u64, n_buckets: usize) -> (usize, u16) {
        let distance = hash - self.first;
        // Behind the last hash, where the distance would lose its first bits.
        if distance.leading_zeros() < self.shift {
            return (n_buckets, 0);
        }
        let wide = u128::from(distance << self.shift) * n_buckets as u128;
        ((wide >> 64) as usize, (wide >> 48) as u16)
    }
}
