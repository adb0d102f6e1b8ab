//! Spark's hashes of any values: `hash` (Murmur3, seed 42) and `xxhash64` (seed 42), column by column.
//!
//! Each column's hash is the seed of the next; NULL leaves it as it is. Narrow integers hash as INT, -0.0 as 0.0.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, IntervalYearMonthType, TimestampMicrosecondType,
};
use datafusion::common::Result;

use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{invalid, unsupported};

/// The two hashes.
pub const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("hash", &[Arg::Any], Returns::Rule(|types| hashable(types, DataType::Int32)), |call| {
        let hashes = hash_rows::<Murmur3>(call)?;
        let result: PrimitiveArray<Int32Type> = hashes.into_iter().map(Some).collect();
        Ok(Arc::new(result))
    })
    .repeat(1)
    .lenient(),
    FunctionDef::new("xxhash64", &[Arg::Any], Returns::Rule(|types| hashable(types, DataType::Int64)), |call| {
        let hashes = hash_rows::<XxHash64>(call)?;
        let result: PrimitiveArray<Int64Type> = hashes.into_iter().map(Some).collect();
        Ok(Arc::new(result))
    })
    .repeat(1)
    .lenient(),
];

fn hashable(types: &Types<'_>, result: DataType) -> Result<DataType> {
    fn has_map(data_type: &DataType) -> bool {
        match data_type {
            DataType::Map(..) => true,
            DataType::List(field) => has_map(field.data_type()),
            DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
            _ => false,
        }
    }
    if (0..types.len()).any(|idx| has_map(&types.at(idx))) {
        return Err(invalid("DATATYPE_MISMATCH.HASH_MAP_TYPE", "a map cannot be hashed: its entries have no order"));
    }
    Ok(result)
}

/// A hash function with a seed.
trait Hasher {
    type Seed: Copy;
    const SEED: Self::Seed;
    fn int(value: i32, seed: Self::Seed) -> Self::Seed;
    fn long(value: i64, seed: Self::Seed) -> Self::Seed;
    fn bytes(value: &[u8], seed: Self::Seed) -> Self::Seed;
}

fn hash_rows<H: Hasher>(call: &Call<'_>) -> Result<Vec<H::Seed>> {
    let mut seeds = vec![H::SEED; call.n_rows()];
    for idx in 0..call.len() {
        hash_column::<H>(&call.array(idx)?, &mut seeds)?;
    }
    Ok(seeds)
}

fn hash_column<H: Hasher>(array: &ArrayRef, seeds: &mut [H::Seed]) -> Result<()> {
    // One dispatch per column, then a plain loop.
    macro_rules! each {
        ($array:expr, $hash:expr) => {{
            let values = $array;
            for (row, seed) in seeds.iter_mut().enumerate() {
                if values.is_valid(row) {
                    *seed = $hash(values.value(row), *seed);
                }
            }
        }};
    }
    match array.data_type() {
        DataType::Boolean => each!(array.as_boolean(), |value: bool, seed| H::int(value.into(), seed)),
        DataType::Int8 => each!(array.as_primitive::<Int8Type>(), |value: i8, seed| H::int(value.into(), seed)),
        DataType::Int16 => each!(array.as_primitive::<Int16Type>(), |value: i16, seed| H::int(value.into(), seed)),
        DataType::Int32 => each!(array.as_primitive::<Int32Type>(), H::int),
        DataType::Date32 => each!(array.as_primitive::<Date32Type>(), H::int),
        DataType::Interval(IntervalUnit::YearMonth) => each!(array.as_primitive::<IntervalYearMonthType>(), H::int),
        DataType::Int64 => each!(array.as_primitive::<Int64Type>(), H::long),
        DataType::Timestamp(..) => each!(array.as_primitive::<TimestampMicrosecondType>(), H::long),
        DataType::Duration(_) => each!(array.as_primitive::<DurationMicrosecondType>(), H::long),
        DataType::Float32 => each!(array.as_primitive::<Float32Type>(), |value: f32, seed| {
            let value = if value.is_nan() { f32::NAN } else { value + 0.0 };
            H::int(value.to_bits() as i32, seed)
        }),
        DataType::Float64 => each!(array.as_primitive::<Float64Type>(), |value: f64, seed| {
            let value = if value.is_nan() { f64::NAN } else { value + 0.0 };
            H::long(value.to_bits() as i64, seed)
        }),
        DataType::Utf8 => each!(array.as_string::<i32>(), |value: &str, seed| H::bytes(value.as_bytes(), seed)),
        DataType::Utf8View => each!(array.as_string_view(), |value: &str, seed| H::bytes(value.as_bytes(), seed)),
        DataType::Binary => each!(array.as_binary::<i32>(), H::bytes),
        DataType::Decimal128(precision, _) if *precision <= 18 => {
            each!(array.as_primitive::<Decimal128Type>(), |value: i128, seed| H::long(value as i64, seed));
        }
        DataType::Decimal128(..) => {
            each!(array.as_primitive::<Decimal128Type>(), |value: i128, seed| { H::bytes(java_bytes(&value.to_be_bytes()), seed) })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            each!(array.as_primitive::<IntervalMonthDayNanoType>(), |value: arrow::datatypes::IntervalMonthDayNano, seed| {
                H::int(value.months, H::int(value.days, H::long(value.nanoseconds / 1000, seed)))
            });
        }
        DataType::Null => {}
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            for (row, seed) in seeds.iter_mut().enumerate() {
                if list.is_valid(row) {
                    *seed = fold::<H>(&list.value(row), *seed)?;
                }
            }
        }
        DataType::Struct(_) => {
            let structs = array.as_struct();
            for column in structs.columns() {
                // A NULL struct leaves the seed as it is, whatever lies under it.
                let column = match structs.nulls() {
                    Some(nulls) if nulls.null_count() > 0 => crate::cast::hide(column, nulls)?,
                    _ => Arc::clone(column),
                };
                hash_column::<H>(&column, seeds)?;
            }
        }
        other => return Err(unsupported(format!("hash of {}", crate::types::type_name(other)))),
    }
    Ok(())
}

/// Hashes the elements of one array into one seed.
fn fold<H: Hasher>(values: &ArrayRef, mut seed: H::Seed) -> Result<H::Seed> {
    for idx in 0..values.len() {
        let mut one = [seed];
        hash_column::<H>(&values.slice(idx, 1), &mut one)?;
        let [next] = one;
        seed = next;
    }
    Ok(seed)
}

/// `BigInteger.toByteArray`: two's complement without redundant sign bytes.
fn java_bytes(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest {
        let redundant = (*first == 0 && *second < 0x80) || (*first == 0xFF && *second >= 0x80);
        match rest.split_first() {
            Some((_, shorter)) if redundant => rest = shorter,
            _ => break,
        }
    }
    rest
}

struct Murmur3;

impl Murmur3 {
    fn mix(hash: i32, word: i32) -> i32 {
        let word = (word as u32).wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        ((hash as u32 ^ word).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)) as i32
    }

    fn finish(hash: i32, length: u32) -> i32 {
        let mut hash = hash as u32 ^ length;
        hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
        (hash ^ hash >> 16) as i32
    }
}

impl Hasher for Murmur3 {
    type Seed = i32;
    const SEED: i32 = 42;

    fn int(value: i32, seed: i32) -> i32 {
        Self::finish(Self::mix(seed, value), 4)
    }

    fn long(value: i64, seed: i32) -> i32 {
        Self::finish(Self::mix(Self::mix(seed, value as i32), (value >> 32) as i32), 8)
    }

    /// Spark's own tail: each remaining byte, signed, is mixed as a word.
    fn bytes(value: &[u8], seed: i32) -> i32 {
        let mut hash = seed;
        let mut words = value.chunks_exact(4);
        for word in words.by_ref() {
            hash = Self::mix(hash, i32::from_le_bytes(word.try_into().unwrap_or_default()));
        }
        for byte in words.remainder() {
            hash = Self::mix(hash, i32::from(*byte as i8));
        }
        Self::finish(hash, value.len() as u32)
    }
}

struct XxHash64;

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

impl XxHash64 {
    fn finish(mut hash: u64) -> i64 {
        hash = (hash ^ hash >> 33).wrapping_mul(P2);
        hash = (hash ^ hash >> 29).wrapping_mul(P3);
        (hash ^ hash >> 32) as i64
    }

    fn round(acc: u64, word: u64) -> u64 {
        acc.wrapping_add(word.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1)
    }

    fn long_step(hash: u64, word: u64) -> u64 {
        (hash ^ Self::round(0, word)).rotate_left(27).wrapping_mul(P1).wrapping_add(P4)
    }

    fn int_step(hash: u64, word: u32) -> u64 {
        (hash ^ u64::from(word).wrapping_mul(P1)).rotate_left(23).wrapping_mul(P2).wrapping_add(P3)
    }
}

impl Hasher for XxHash64 {
    type Seed = i64;
    const SEED: i64 = 42;

    fn int(value: i32, seed: i64) -> i64 {
        let hash = (seed as u64).wrapping_add(P5).wrapping_add(4);
        Self::finish(Self::int_step(hash, value as u32))
    }

    fn long(value: i64, seed: i64) -> i64 {
        let hash = (seed as u64).wrapping_add(P5).wrapping_add(8);
        Self::finish(Self::long_step(hash, value as u64))
    }

    fn bytes(value: &[u8], seed: i64) -> i64 {
        let seed = seed as u64;
        let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let mut rest = value;
        let mut hash = if value.len() >= 32 {
            let mut lanes = [seed.wrapping_add(P1).wrapping_add(P2), seed.wrapping_add(P2), seed, seed.wrapping_sub(P1)];
            let mut blocks = value.chunks_exact(32);
            for block in blocks.by_ref() {
                for (lane, chunk) in lanes.iter_mut().zip(block.chunks_exact(8)) {
                    *lane = Self::round(*lane, word(chunk));
                }
            }
            rest = blocks.remainder();
            let rotated = lanes.iter().zip([1, 7, 12, 18]).fold(0u64, |sum, (lane, by)| sum.wrapping_add(lane.rotate_left(by)));
            lanes.iter().fold(rotated, |hash, lane| (hash ^ Self::round(0, *lane)).wrapping_mul(P1).wrapping_add(P4))
        } else {
            seed.wrapping_add(P5)
        };
        hash = hash.wrapping_add(value.len() as u64);
        let mut longs = rest.chunks_exact(8);
        for chunk in longs.by_ref() {
            hash = Self::long_step(hash, word(chunk));
        }
        let mut ints = longs.remainder().chunks_exact(4);
        for chunk in ints.by_ref() {
            hash = Self::int_step(hash, u32::from_le_bytes(chunk.try_into().unwrap_or_default()));
        }
        for byte in ints.remainder() {
            hash = (hash ^ u64::from(*byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
        }
        Self::finish(hash)
    }
}

#[cfg(test)]
mod tests;
