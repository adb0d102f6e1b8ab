//! Casts with Spark's ANSI semantics: `cast(value, 'type', 'mode', 'zone' [, 'source type'])`.
//!
//! `mode` is `ansi` (a bad value is an error), `try` (a bad value is NULL) or `legacy` (NULL, and integers wrap).
//! The source type is only needed where Arrow cannot carry it: the range of an interval. Which pairs of types may
//! be cast at all is [`can_cast`]; the analyzer asks it before it builds a call.

mod interval;
mod numeric;
mod temporal;
mod text;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::Result;
use millstream_formats::datetime::{IntervalRange, Zone};

use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{data, external, internal, invalid, unsupported};
use crate::types::{parse_written, type_name};

/// The casts.
pub const FUNCTIONS: &[FunctionDef] = &[FunctionDef::new(
    "cast",
    &[Arg::Any, Arg::LiteralString, Arg::LiteralString, Arg::LiteralString, Arg::LiteralString],
    Returns::Rule(target),
    cast_kernel,
)
.min(4)];

/// What happens to a value that cannot be cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CastMode {
    /// An error.
    Ansi,
    /// NULL.
    Try,
    /// NULL; integers that do not fit wrap.
    Legacy,
}

/// Everything a cast depends on besides its types.
#[derive(Debug, Clone, Copy)]
pub struct CastOptions {
    /// What happens to a value that cannot be cast.
    pub mode: CastMode,
    /// The session time zone.
    pub zone: Zone,
    pub(crate) from_range: Option<IntervalRange>,
    pub(crate) to_range: Option<IntervalRange>,
}

impl CastOptions {
    /// Options for a mode and a zone.
    pub fn new(mode: CastMode, zone: Zone) -> Self {
        Self { mode, zone, from_range: None, to_range: None }
    }

    /// A value that fits no target: an error in ANSI mode, else NULL.
    pub(crate) fn fault<T>(&self, error: impl FnOnce() -> datafusion::common::DataFusionError) -> Result<Option<T>> {
        match self.mode {
            CastMode::Ansi => Err(error()),
            CastMode::Try | CastMode::Legacy => Ok(None),
        }
    }
}

/// Spark's `CAST_INVALID_INPUT`.
pub(crate) fn invalid_input(value: &str, from: &str, to: &DataType) -> datafusion::common::DataFusionError {
    data(
        "CAST_INVALID_INPUT",
        format!(
            "the value '{value}' of the type \"{from}\" cannot be cast to \"{}\" because it is malformed; use try_cast to get NULL instead",
            type_name(to).to_uppercase()
        ),
    )
}

/// Spark's `CAST_OVERFLOW`.
pub(crate) fn cast_overflow(value: impl std::fmt::Display, from: &DataType, to: &DataType) -> datafusion::common::DataFusionError {
    data(
        "CAST_OVERFLOW",
        format!(
            "the value {value} of the type \"{}\" cannot be cast to \"{}\" due to an overflow; use try_cast to get NULL instead",
            type_name(from).to_uppercase(),
            type_name(to).to_uppercase()
        ),
    )
}

fn target(types: &Types<'_>) -> Result<DataType> {
    let text = types.text(1).ok_or_else(|| internal("cast: the target type must be a string literal"))?;
    Ok(parse_written(text)?.data_type)
}

fn cast_kernel(call: &Call<'_>) -> Result<ArrayRef> {
    let to = parse_written(call.required_text(1)?)?;
    let mode = match call.required_text(2)? {
        "ansi" => CastMode::Ansi,
        "try" => CastMode::Try,
        "legacy" => CastMode::Legacy,
        other => return Err(internal(format!("cast: unknown mode '{other}'"))),
    };
    let zone = Zone::parse(call.required_text(3)?).map_err(external)?;
    let from_range = match call.text(4) {
        Some(text) => parse_written(text)?.range,
        None => None,
    };
    let options = CastOptions { mode, zone, from_range, to_range: to.range };
    cast_array(&call.array(0)?, &to.data_type, &options)
}

/// Casts a column.
pub fn cast_array(array: &ArrayRef, to: &DataType, options: &CastOptions) -> Result<ArrayRef> {
    use DataType as D;
    let from = array.data_type();
    if from == to && !is_interval(from) {
        return Ok(Arc::clone(array));
    }
    match (from, to) {
        (D::Null, _) => Ok(new_null_array(to, array.len())),
        (D::Utf8View | D::LargeUtf8, _) => cast_array(&arrow::compute::cast(array, &D::Utf8)?, to, options),
        (D::BinaryView | D::LargeBinary, _) => cast_array(&arrow::compute::cast(array, &D::Binary)?, to, options),
        (D::Timestamp(_, Some(_)), D::Timestamp(_, Some(_))) => Ok(arrow::compute::cast(array, to)?),
        (D::List(_), D::List(_)) => cast_list(array.as_list(), to, options),
        (D::Map(..), D::Map(..)) => cast_map(array.as_map(), to, options),
        (D::Struct(_), D::Struct(_)) => cast_struct(array.as_struct(), to, options),
        (D::List(_) | D::Map(..) | D::Struct(_), D::Utf8) => text::to_text(array, options),
        (D::Utf8, D::Binary) => Ok(arrow::compute::cast(array, to)?),
        (D::Binary, D::Utf8) => text::binary_to_text(array.as_binary()),
        (D::Utf8, _) if to.is_numeric() || to == &D::Boolean => numeric::from_text(array.as_string(), to, options),
        (D::Utf8, D::Date32 | D::Timestamp(..)) => temporal::from_text(array.as_string(), to, options),
        (D::Utf8, D::Duration(_) | D::Interval(_)) => interval::from_text(array.as_string(), to, options),
        (_, D::Utf8) => text::to_text(array, options),
        _ if is_number(from) && is_number(to) => numeric::between(array, to, options),
        _ if (is_datetime(from) || is_number(from)) && (is_datetime(to) || is_number(to)) => temporal::between(array, to, options),
        _ if is_interval(from) || is_interval(to) => interval::between(array, to, options),
        _ => Err(mismatch(from, to)),
    }
}

fn mismatch(from: &DataType, to: &DataType) -> datafusion::common::DataFusionError {
    invalid(
        "DATATYPE_MISMATCH.CAST_WITHOUT_SUGGESTION",
        format!("cannot cast \"{}\" to \"{}\"", type_name(from).to_uppercase(), type_name(to).to_uppercase()),
    )
}

fn is_number(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(..)
    )
}

fn is_datetime(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(..))
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Duration(_) | DataType::Interval(_))
}

/// Whether Spark allows the cast in ANSI mode (and in `try_cast`, which has the same table).
pub fn can_cast(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    if from == to {
        return true;
    }
    match (from, to) {
        (D::Null, _) | (_, D::Utf8) => true,
        (D::List(a), D::List(b)) => can_cast(a.data_type(), b.data_type()),
        (D::Map(a, _), D::Map(b, _)) => can_cast(a.data_type(), b.data_type()),
        (D::Struct(a), D::Struct(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| can_cast(a.data_type(), b.data_type())),
        (D::Utf8, D::Binary | D::Date32 | D::Timestamp(..) | D::Duration(_) | D::Interval(_)) => true,
        (D::Utf8, _) => is_number(to),
        (D::Timestamp(_, Some(_)), _) => is_datetime(to) || (is_number(to) && to != &D::Boolean),
        (D::Timestamp(_, None) | D::Date32, _) => is_datetime(to),
        (D::Boolean, D::Timestamp(..)) => false,
        (D::Duration(_) | D::Interval(IntervalUnit::YearMonth), _) => to.is_integer() || matches!(to, D::Decimal128(..)) || from == to,
        (_, D::Duration(_) | D::Interval(IntervalUnit::YearMonth)) => from.is_integer() || matches!(from, D::Decimal128(..)),
        (_, D::Timestamp(_, Some(_))) => is_number(from),
        _ => is_number(from) && is_number(to),
    }
}

fn cast_list(list: &ListArray, to: &DataType, options: &CastOptions) -> Result<ArrayRef> {
    let DataType::List(field) = to else { return Err(mismatch(list.data_type(), to)) };
    let values = cast_array(list.values(), field.data_type(), options)?;
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), list.offsets().clone(), values, list.nulls().cloned())?))
}

fn cast_struct(array: &StructArray, to: &DataType, options: &CastOptions) -> Result<ArrayRef> {
    let DataType::Struct(fields) = to else { return Err(mismatch(array.data_type(), to)) };
    if fields.len() != array.num_columns() {
        return Err(mismatch(array.data_type(), to));
    }
    if fields.is_empty() {
        return Ok(Arc::new(array.clone()));
    }
    let columns = array
        .columns()
        .iter()
        .zip(fields)
        .map(|(column, field)| {
            // What lies under a NULL struct must not raise an error.
            let column = match array.nulls() {
                Some(nulls) if nulls.null_count() > 0 => hide(column, nulls)?,
                _ => Arc::clone(column),
            };
            cast_array(&column, field.data_type(), options)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, array.nulls().cloned())?))
}

/// NULL wherever `nulls` says so.
pub(crate) fn hide(column: &ArrayRef, nulls: &arrow::buffer::NullBuffer) -> Result<ArrayRef> {
    let mask = arrow::array::BooleanArray::new(!nulls.inner(), None);
    Ok(arrow::compute::nullif(column, &mask)?)
}

fn cast_map(map: &MapArray, to: &DataType, options: &CastOptions) -> Result<ArrayRef> {
    let DataType::Map(entries_field, sorted) = to else { return Err(mismatch(map.data_type(), to)) };
    let DataType::Struct(fields) = entries_field.data_type() else { return Err(mismatch(map.data_type(), to)) };
    let [key_field, value_field] = fields.as_ref() else { return Err(mismatch(map.data_type(), to)) };
    let keys = cast_array(map.keys(), key_field.data_type(), options)?;
    if keys.null_count() > 0 {
        return Err(unsupported("a cast that makes a map key NULL"));
    }
    let values = cast_array(map.values(), value_field.data_type(), options)?;
    let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    Ok(Arc::new(MapArray::try_new(Arc::clone(entries_field), map.offsets().clone(), entries, map.nulls().cloned(), *sorted)?))
}

#[cfg(test)]
mod tests;
