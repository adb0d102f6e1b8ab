//! Chance that can be repeated: splitmix64. A campaign draws everything from its seed and the run's number.

/// A small generator; not for secrets.
pub struct Rng(u64);

impl Rng {
    /// The generator of one run: runs are independent of each other, so that `--from` repeats a single one.
    pub fn new(seed: u64, run: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(run.wrapping_mul(0xA076_1D64_78BD_642F)));
        rng.next();
        rng
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `from..to`; `from` if the range is empty.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % to.saturating_sub(from).max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.range(0, n) == 0
    }

    /// One of the choices.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let at = self.range(0, choices.len() as u64);
        choices.get(usize::try_from(at).unwrap_or(0))
    }
}
