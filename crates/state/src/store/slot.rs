//! The name of a live row within its table.

use std::num::NonZeroU32;

/// A live row of a table. Stays the same until the row is removed or expires, or the next delta is taken, also when the
/// row's values change; then it may name another row. `Option<Slot>` has four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(NonZeroU32);

impl Slot {
    pub(super) fn new(idx: usize) -> Option<Self> {
        u32::try_from(idx).ok()?.checked_add(1).and_then(NonZeroU32::new).map(Self)
    }

    pub(super) fn idx(self) -> usize {
        self.0.get() as usize - 1
    }
}
