//! Partition columns: names and values from folders (`day=2024-01-01/`), their types by Spark's rules, and their arrays.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::compute::CastOptions;
use arrow::datatypes::{DataType, Field, TimeUnit};
use millstream_core::{Error, Result};
use millstream_formats::datetime::{Zone, parse_date, parse_timestamp, parse_timestamp_ntz};

use super::names::parse_partition_folder;

/// Column and value, outermost folder first; `None` is null.
pub(super) type PartitionValues = Vec<(String, Option<String>)>;

/// The partition values that these folders name.
pub(super) fn partition_values<'a>(folders: impl Iterator<Item = &'a str>) -> PartitionValues {
    folders.filter_map(parse_partition_folder).collect()
}

/// The partition columns of some folders: names from their names, types inferred if asked for, else STRING.
pub(super) fn partition_fields<'a>(
    folders: impl Iterator<Item = (&'a str, PartitionValues)>,
    infer_types: bool,
    zone: Zone,
) -> Result<Vec<Field>> {
    let mut columns: Vec<(String, Option<Guess>)> = Vec::new();
    let mut first_path: Option<&str> = None;
    for (path, values) in folders {
        if values.is_empty() {
            continue;
        }
        let Some(known) = first_path else {
            first_path = Some(path);
            columns = values.into_iter().map(|(name, value)| (name, value.map(|value| guess(&value, zone)))).collect();
            continue;
        };
        let same = values.len() == columns.len() && values.iter().zip(&columns).all(|((name, _), (known, _))| name == known);
        if !same {
            return Err(Error::invalid(format!("the partition folders of '{known}' and '{path}' have different columns"))
                .code("CONFLICTING_PARTITION_COLUMN_NAMES")
                .hint("give a path whose folders have the same partition columns, or set recursiveFileLookup"));
        }
        for ((_, column), (_, value)) in columns.iter_mut().zip(values) {
            if let Some(value) = value {
                let new = guess(&value, zone);
                *column = Some(column.map_or(new, |old| wider(old, new)));
            }
        }
    }
    let typed = |guess: Option<Guess>| match guess {
        Some(guess) if infer_types => guess.data_type(),
        _ => DataType::Utf8,
    };
    Ok(columns.into_iter().map(|(name, guess)| Field::new(name, typed(guess), true)).collect())
}

/// In the order of widening among numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Guess {
    Int,
    Long,
    Decimal,
    Double,
    Date,
    Timestamp,
    Text,
}

impl Guess {
    fn data_type(self) -> DataType {
        match self {
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Decimal => DataType::Decimal128(38, 0),
            Self::Double => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Text => DataType::Utf8,
        }
    }
}

/// Spark's `inferPartitionColumnValue`: the first type that takes the text.
fn guess(text: &str, zone: Zone) -> Guess {
    let is_number = text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    if text.parse::<i32>().is_ok() {
        Guess::Int
    } else if text.parse::<i64>().is_ok() {
        Guess::Long
    } else if is_number && text.len() <= 38 && text.trim_start_matches(['+', '-']).bytes().all(|byte| byte.is_ascii_digit()) {
        Guess::Decimal
    } else if is_number && text.parse::<f64>().is_ok() {
        Guess::Double
    } else if is_full_date(text) && parse_date(text).is_some() {
        Guess::Date
    } else if text.get(..10).is_some_and(is_full_date) && parse_timestamp(text, zone).is_some() {
        Guess::Timestamp
    } else {
        Guess::Text
    }
}

/// `yyyy-MM-dd`: Spark's cast takes shorter texts, its inference does not.
fn is_full_date(text: &str) -> bool {
    text.len() == 10 && text.bytes().enumerate().all(|(idx, byte)| if idx == 4 || idx == 7 { byte == b'-' } else { byte.is_ascii_digit() })
}

fn wider(left: Guess, right: Guess) -> Guess {
    let (low, high) = if left <= right { (left, right) } else { (right, left) };
    match (low, high) {
        (low, high) if low == high => low,
        (_, high) if high <= Guess::Double => high,
        (Guess::Date, Guess::Timestamp) => Guess::Timestamp,
        _ => Guess::Text,
    }
}

/// A partition value as a column of `n_rows`.
pub(super) fn constant(value: Option<&str>, data_type: &DataType, zone: Zone, n_rows: usize) -> Result<ArrayRef> {
    let Some(value) = value else { return Ok(new_null_array(data_type, n_rows)) };
    let wrong =
        || Error::data(format!("partition value '{value}' is not a {data_type}")).hint("give the column the type STRING in the schema");
    let one: ArrayRef = match data_type {
        DataType::Date32 => Arc::new(Date32Array::from(vec![parse_date(value).ok_or_else(wrong)?])),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            Arc::new(TimestampMicrosecondArray::from(vec![parse_timestamp_ntz(value, true).ok_or_else(wrong)?]))
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(name)) => {
            let us = parse_timestamp(value, zone).ok_or_else(wrong)?;
            Arc::new(TimestampMicrosecondArray::from(vec![us]).with_timezone(Arc::clone(name)))
        }
        _ => {
            let text = StringArray::from(vec![value]);
            let options = CastOptions { safe: false, ..CastOptions::default() };
            arrow::compute::cast_with_options(&text, data_type, &options).map_err(|_| wrong())?
        }
    };
    repeat(&one, n_rows)
}

/// The first value of `one`, `n_rows` times.
pub(super) fn repeat(one: &ArrayRef, n_rows: usize) -> Result<ArrayRef> {
    let indices = arrow::array::UInt32Array::from(vec![0; n_rows]);
    Ok(arrow::compute::take(one, &indices, None)?)
}

/// A batch of `n_rows` without columns, or with these.
pub(super) fn batch_of(schema: &arrow::datatypes::SchemaRef, columns: Vec<ArrayRef>, n_rows: usize) -> Result<RecordBatch> {
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(n_rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
