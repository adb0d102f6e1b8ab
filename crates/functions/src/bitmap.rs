//! Distinct counts by bitmaps: the bucket and the bit of a number, and the bits that are set.

use datafusion::common::Result;

use arrow::array::ArrayRef;
use arrow::datatypes::Int64Type;

use crate::def::{Arg, Call, FunctionDef, Returns};
use crate::rows::{bytes, number, number_rows};

/// The bits of one bitmap: Spark's are of 4 KiB.
const N_BITS: i64 = 4096 * 8;

/// `bitmap_bit_position`, `bitmap_bucket_number`, `bitmap_count`.
pub const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("bitmap_bit_position", &[Arg::Long], Returns::Long, |call| {
        longs(call, |value| if value > 0 { (value - 1) % N_BITS } else { value.wrapping_neg() % N_BITS })
    }),
    FunctionDef::new("bitmap_bucket_number", &[Arg::Long], Returns::Long, |call| {
        longs(call, |value| if value > 0 { 1 + (value - 1) / N_BITS } else { value / N_BITS })
    }),
    FunctionDef::new("bitmap_count", &[Arg::Binary], Returns::Long, |call| {
        let bitmaps = call.binaries(0)?;
        let count = |bitmap: &[u8]| bitmap.iter().map(|byte| i64::from(byte.count_ones())).sum();
        Ok(std::sync::Arc::new(number_rows::<Int64Type>(call.n_rows(), |row| Ok(bytes(&bitmaps, row).map(count)))?))
    }),
];

fn longs(call: &Call<'_>, compute: fn(i64) -> i64) -> Result<ArrayRef> {
    let values = call.primitive::<Int64Type>(0)?;
    Ok(std::sync::Arc::new(number_rows::<Int64Type>(call.n_rows(), |row| Ok(number(&values, row).map(compute)))?))
}
