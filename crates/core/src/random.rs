//! Spark's random numbers: its `XORShiftRandom` below the draws of Java's `Random`, so that `rand(seed)` and
//! `randn(seed)` give the very numbers that Spark gives.

/// A generator; one per partition.
#[derive(Debug, Clone)]
pub struct SparkRandom {
    state: i64,
    /// Normal numbers are made in pairs.
    next_normal: Option<f64>,
}

/// Scala's `MurmurHash3.arraySeed`.
const ARRAY_SEED: u32 = 0x3c07_4a61;

impl SparkRandom {
    /// The generator of a seed.
    pub fn new(seed: i64) -> Self {
        Self { state: hash_seed(seed), next_normal: None }
    }

    /// The next number of at most 32 bits.
    fn bits(&mut self, n_bits: u32) -> i32 {
        let mut next = self.state ^ (self.state << 21);
        next ^= ((next as u64) >> 35) as i64;
        next ^= next << 4;
        self.state = next;
        (next & ((1_i64 << n_bits) - 1)) as i32
    }

    /// Uniform in `[0, 1)`.
    pub fn uniform(&mut self) -> f64 {
        let (high, low) = (i64::from(self.bits(26)), i64::from(self.bits(27)));
        ((high << 27) + low) as f64 / (1_u64 << 53) as f64
    }

    /// Of the standard normal distribution, by the polar method.
    pub fn normal(&mut self) -> f64 {
        if let Some(next) = self.next_normal.take() {
            return next;
        }
        loop {
            let (a, b) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = a * a + b * b;
            if square < 1.0 && square != 0.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.next_normal = Some(b * factor);
                return a * factor;
            }
        }
    }

    /// Uniform among `0..n`; 0 when `n` is.
    pub fn below(&mut self, n: usize) -> usize {
        ((self.uniform() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// 64 bits.
    pub fn long(&mut self) -> i64 {
        (i64::from(self.bits(32)) << 32).wrapping_add(i64::from(self.bits(32)))
    }
}

/// Spreads a seed over all bits, for neighbouring seeds (of partitions) must not give similar numbers.
pub fn hash_seed(seed: i64) -> i64 {
    let bytes = seed.to_be_bytes();
    let low = murmur3(&bytes, ARRAY_SEED);
    let high = murmur3(&bytes, low);
    ((u64::from(high) << 32) | u64::from(low)) as i64
}

fn murmur3(bytes: &[u8; 8], seed: u32) -> u32 {
    let mut hash = seed;
    for block in bytes.chunks_exact(4) {
        let mut word = block.iter().rev().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte));
        word = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        hash = (hash ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    hash ^= 8;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests;
