//! Tests of the index of expiries: against a map, and that no call looks at many more rows than it gives.

use std::cell::Cell;
use std::collections::BTreeMap;

use super::{CUT_AT, ExpiryIndex};
use crate::store::slot::Slot;

/// Rows as a table has them: a slot is used again when its row is gone.
#[derive(Default)]
struct Rows {
    expiry: Vec<Option<i64>>,
    n_asked: Cell<usize>,
}

impl Rows {
    fn of(&self, slot: Slot) -> Option<i64> {
        self.n_asked.set(self.n_asked.get() + 1);
        self.expiry.get(slot.idx()).copied().flatten()
    }

    fn set(&mut self, index: &mut ExpiryIndex, idx: usize, expiry: i64) {
        if self.expiry.len() <= idx {
            self.expiry.resize(idx + 1, None);
        }
        self.expiry[idx] = Some(expiry);
        index.insert(Slot::new(idx).unwrap(), expiry, |slot| self.of(slot));
    }

    /// What expires, which is removed.
    fn take(&mut self, index: &mut ExpiryIndex, t: i64) -> Vec<usize> {
        self.n_asked.set(0);
        let mut expired: Vec<usize> = index.take_expired(t, |slot| self.of(slot)).into_iter().map(Slot::idx).collect();
        expired.iter().for_each(|idx| self.expiry[*idx] = None);
        expired.sort_unstable();
        expired
    }

    fn due(&self, t: i64) -> Vec<usize> {
        (0..self.expiry.len()).filter(|idx| self.expiry[*idx].is_some_and(|expiry| expiry <= t)).collect()
    }

    fn first(&self) -> Option<i64> {
        self.expiry.iter().flatten().min().copied()
    }
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z ^ (z >> 27)
}

#[test]
fn what_expires_is_what_a_map_says() {
    for seed in 0..20 {
        let mut chance = seed;
        let mut draw = |n: u64| random(&mut chance) % n;
        let (mut rows, mut index, mut t) = (Rows::default(), ExpiryIndex::default(), -5000);
        // Narrow spans make full buckets of one moment, wide ones many buckets.
        let spans = [10, 1000, 1_000_000, u64::from(u32::MAX)];
        let (n_slots, widest) = (1 + draw(20_000), spans[draw(4) as usize]);
        let span = 1 + draw(widest);
        for step in 0..40 {
            for _ in 0..draw(4000) {
                let idx = draw(n_slots) as usize;
                match draw(10) {
                    0 => rows.expiry.get_mut(idx).into_iter().for_each(|expiry| *expiry = None),
                    // Late ones are due at once.
                    1 => rows.set(&mut index, idx, t - draw(100) as i64),
                    _ => rows.set(&mut index, idx, t + draw(span) as i64),
                }
            }
            t += draw(span / 4 + 2) as i64;
            assert!(index.none_before().unwrap_or(i64::MAX) <= rows.first().unwrap_or(i64::MAX), "seed {seed}, step {step}");
            let due = rows.due(t);
            assert_eq!(rows.take(&mut index, t), due, "seed {seed}, step {step}");
            assert!(index.none_before().is_none_or(|before| before > t), "seed {seed}, step {step}");
        }
        let due = rows.due(i64::MAX);
        assert_eq!(rows.take(&mut index, i64::MAX), due);
        assert_eq!((index.none_before(), index.n_reserved), (None, 0), "seed {seed}");
    }
}

#[test]
fn the_next_expiry_is_exact_when_it_is_near() {
    let (mut rows, mut index) = (Rows::default(), ExpiryIndex::default());
    (0..10_000).for_each(|n| rows.set(&mut index, n, 1_700_000_000_000 + 37 * (n as i64 * 7919 % 10_000)));
    for n in 0..10_000 {
        let next = 1_700_000_000_000 + 37 * n;
        assert_eq!(rows.take(&mut index, next - 1), Vec::<usize>::new());
        assert_eq!(index.none_before(), Some(next));
        assert_eq!(rows.take(&mut index, next).len(), 1);
    }
}

#[test]
fn no_call_looks_at_many_more_rows_than_it_gives() {
    const N: usize = 300_000;
    for is_ordered in [true, false] {
        let (mut rows, mut index) = (Rows::default(), ExpiryIndex::default());
        let mut most = 0;
        for n in 0..N {
            let at = if is_ordered { n + n * 31 % 50 } else { n * 7919 % N };
            rows.n_asked.set(0);
            rows.set(&mut index, n, 1_700_000_000_000 + at as i64);
            most = most.max(rows.n_asked.get());
        }
        assert!(most <= CUT_AT, "{most} for one new row");
        for step in 1..=N / 100 {
            let given = rows.take(&mut index, 1_700_000_000_000 + step as i64 * 100 - 1).len();
            let asked = rows.n_asked.get();
            assert!(asked <= 2 * given + CUT_AT + 512, "{asked} for {given} rows, ordered: {is_ordered}");
        }
    }
}

#[test]
fn a_row_that_goes_on_being_put_off_has_one_entry() {
    let (mut rows, mut index) = (Rows::default(), ExpiryIndex::default());
    for n in 0..100_000 {
        rows.set(&mut index, n % 10, n as i64);
    }
    assert!(index.n_reserved < 100, "{}", index.n_reserved);
    let mut by_time: BTreeMap<i64, usize> = BTreeMap::new();
    (0..10).for_each(|idx| _ = by_time.insert(rows.expiry[idx].unwrap(), idx));
    for (t, idx) in by_time {
        assert_eq!(rows.take(&mut index, t), [idx]);
    }
}
