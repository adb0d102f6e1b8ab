//! Which rows of something that is never changed otherwise still live.
//!
//! The bits are shared with frozen views and copied when they change under one, so that freezing costs nothing per row.

use std::sync::Arc;

use arrow::buffer::{BooleanBuffer, Buffer};

/// A bit per row.
#[derive(Debug, Clone)]
pub struct LiveRows {
    bits: Arc<Vec<u64>>,
    n_rows: usize,
    n_live: usize,
}

impl LiveRows {
    /// All rows live.
    pub fn new(n_rows: usize) -> Self {
        let mut bits = vec![u64::MAX; n_rows.div_ceil(64)];
        if let (Some(last), used @ 1..) = (bits.last_mut(), n_rows % 64) {
            *last >>= 64 - used;
        }
        Self { bits: Arc::new(bits), n_rows, n_live: n_rows }
    }

    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub fn n_live(&self) -> usize {
        self.n_live
    }

    pub fn bytes(&self) -> usize {
        self.bits.len() * 8
    }

    pub fn is_live(&self, row: usize) -> bool {
        self.bits.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Marks a row dead; says whether it lived.
    pub fn kill(&mut self, row: usize) -> bool {
        if !self.is_live(row) {
            return false;
        }
        if let Some(word) = Arc::make_mut(&mut self.bits).get_mut(row / 64) {
            *word &= !(1 << (row % 64));
            self.n_live -= 1;
        }
        true
    }

    /// Whether dead rows take more room than live ones.
    pub fn is_sparse(&self) -> bool {
        self.n_live * 2 < self.n_rows
    }

    /// The numbers of the live rows.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.bits.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                rest &= rest.checked_sub(1)?;
                Some(at * 64 + bit as usize)
            })
        })
    }

    /// The first live row at or behind `row`.
    pub fn next(&self, row: usize) -> Option<usize> {
        let first = self.bits.get(row / 64)? >> (row % 64);
        if first != 0 {
            return Some(row + first.trailing_zeros() as usize);
        }
        let (at, word) = self.bits.iter().enumerate().skip(row / 64 + 1).find(|(_, word)| **word != 0)?;
        Some(at * 64 + word.trailing_zeros() as usize)
    }

    /// The bits as a mask of Arrow.
    pub fn mask(&self) -> BooleanBuffer {
        BooleanBuffer::new(Buffer::from_vec(self.bits.as_ref().clone()), 0, self.n_rows)
    }
}
