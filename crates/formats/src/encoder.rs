//! What every encoder shares: the trait that writers drive, and cells as text.
//!
//! A writer calls [`Encoder::begin`] for every file, [`Encoder::encode`] with its batches, and writes what was appended.
//! Types are resolved once per batch; a cell costs no allocation.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, TimeUnit};

use millstream_core::{Error, Options, Result};

use crate::datetime::{Civil, MICROS_PER_SECOND, Zone, push_date, push_local_iso_millis};
use crate::json::push_quoted;
use crate::number::{push_big_decimal, push_double, push_float};
use crate::pattern::DateTimePattern;

/// Record batches to bytes of a format.
pub trait Encoder: Send {
    /// A new file begins: its header, if it has one.
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<()>;

    /// Appends the rows of a batch of the encoder's schema.
    fn encode(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<()>;
}

/// How dates and timestamps are written; without a pattern as Spark's writers do.
#[derive(Debug, Clone, Default)]
pub(crate) struct TimeTexts {
    pub zone: Zone,
    pub date: Option<DateTimePattern>,
    pub timestamp: Option<DateTimePattern>,
    pub timestamp_ntz: Option<DateTimePattern>,
}

impl TimeTexts {
    pub fn new(options: &Options, session_zone: Zone) -> Result<Self> {
        let pattern = |name: &str| options.get(name).map(DateTimePattern::for_format).transpose();
        Ok(Self {
            zone: options.get("timeZone").map_or(Ok(session_zone), Zone::parse)?,
            date: pattern("dateFormat")?,
            timestamp: pattern("timestampFormat")?,
            timestamp_ntz: pattern("timestampNTZFormat")?,
        })
    }

    pub fn push_date(&self, out: &mut String, days: i32) -> Result<()> {
        match &self.date {
            Some(pattern) => pattern.format_date(out, days),
            None => {
                push_date(out, days);
                Ok(())
            }
        }
    }

    /// Without a pattern `yyyy-MM-dd'T'HH:mm:ss.SSSXXX`, with the seconds of the offset if it has any.
    pub fn push_timestamp(&self, out: &mut String, us: i64) -> Result<()> {
        if let Some(pattern) = &self.timestamp {
            return pattern.format_timestamp(out, us, self.zone);
        }
        let offset = self.zone.offset_at(us);
        let local = us.saturating_add(i64::from(offset) * MICROS_PER_SECOND);
        push_local_iso_millis(out, &Civil::from_local_micros(local));
        if offset == 0 {
            out.push('Z');
        } else {
            out.push_str(&Zone::Fixed(offset).name());
        }
        Ok(())
    }

    /// Without a pattern `yyyy-MM-dd'T'HH:mm:ss.SSS`.
    pub fn push_timestamp_ntz(&self, out: &mut String, local_us: i64) -> Result<()> {
        if let Some(pattern) = &self.timestamp_ntz {
            return pattern.format_timestamp_ntz(out, local_us);
        }
        push_local_iso_millis(out, &Civil::from_local_micros(local_us));
        Ok(())
    }
}

/// An array whose type is known.
#[derive(Debug)]
pub(crate) enum Typed {
    Null,
    Bool(BooleanArray),
    Int8(Int8Array),
    Int16(Int16Array),
    Int32(Int32Array),
    Int64(Int64Array),
    Float32(Float32Array),
    Float64(Float64Array),
    Decimal(Decimal128Array, i8),
    Date(Date32Array),
    Timestamp(TimestampMicrosecondArray),
    TimestampNtz(TimestampMicrosecondArray),
    Str(StringArray),
    Binary(BinaryArray),
    /// With the names of the fields as JSON strings.
    Struct(StructArray, Vec<(String, Typed)>),
    List(ListArray, Box<Typed>),
    Map(MapArray, Box<Typed>, Box<Typed>),
}

impl Typed {
    /// Resolves the type of an array; `path` names it in the error.
    pub fn new(array: &ArrayRef, path: &str) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Int8 => Self::Int8(array.as_primitive().clone()),
            DataType::Int16 => Self::Int16(array.as_primitive().clone()),
            DataType::Int32 => Self::Int32(array.as_primitive().clone()),
            DataType::Int64 => Self::Int64(array.as_primitive().clone()),
            DataType::Float32 => Self::Float32(array.as_primitive().clone()),
            DataType::Float64 => Self::Float64(array.as_primitive().clone()),
            DataType::Decimal128(_, scale) => Self::Decimal(array.as_primitive().clone(), *scale),
            DataType::Date32 => Self::Date(array.as_primitive().clone()),
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => Self::Timestamp(array.as_primitive().clone()),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Self::TimestampNtz(array.as_primitive().clone()),
            DataType::Utf8 => Self::Str(array.as_string().clone()),
            DataType::Binary => Self::Binary(array.as_binary().clone()),
            // What other readers and kernels give instead of the types above.
            DataType::Utf8View | DataType::LargeUtf8 => return Self::cast(array, &DataType::Utf8, path),
            DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
                return Self::cast(array, &DataType::Binary, path);
            }
            DataType::Dictionary(_, value) => return Self::cast(array, value, path),
            DataType::Timestamp(_, zone) => return Self::cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()), path),
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                return Self::cast(array, &DataType::List(Arc::clone(item)), path);
            }
            DataType::Struct(fields) => {
                let structs = array.as_struct();
                let children = fields
                    .iter()
                    .zip(structs.columns())
                    .map(|(field, column)| {
                        let mut name = String::new();
                        push_quoted(&mut name, field.name(), false);
                        Ok((name, Self::new(column, &format!("{path}.{}", field.name()))?))
                    })
                    .collect::<Result<Vec<_>>>()?;
                Self::Struct(structs.clone(), children)
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Self::List(list.clone(), Box::new(Self::new(list.values(), &format!("{path}.element"))?))
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let keys = Self::new(map.keys(), &format!("{path}.key"))?;
                let values = Self::new(map.values(), &format!("{path}.value"))?;
                Self::Map(map.clone(), Box::new(keys), Box::new(values))
            }
            other => {
                return Err(Error::unsupported(format!("column '{path}' of type {other} cannot be written as text"))
                    .code("UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE")
                    .hint("cast it to STRING"));
            }
        })
    }

    fn cast(array: &ArrayRef, to: &DataType, path: &str) -> Result<Self> {
        Self::new(&arrow::compute::cast(array, to)?, path)
    }

    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(array) => array.is_null(row),
            Self::Int8(array) => array.is_null(row),
            Self::Int16(array) => array.is_null(row),
            Self::Int32(array) => array.is_null(row),
            Self::Int64(array) => array.is_null(row),
            Self::Float32(array) => array.is_null(row),
            Self::Float64(array) => array.is_null(row),
            Self::Decimal(array, _) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Timestamp(array) | Self::TimestampNtz(array) => array.is_null(row),
            Self::Str(array) => array.is_null(row),
            Self::Binary(array) => array.is_null(row),
            Self::Struct(array, _) => array.is_null(row),
            Self::List(array, _) => array.is_null(row),
            Self::Map(array, ..) => array.is_null(row),
        }
    }

    /// Appends a number, boolean, date or timestamp as text; `false` if the cell is of another kind.
    #[inline]
    pub fn push_scalar(&self, out: &mut String, row: usize, times: &TimeTexts) -> Result<bool> {
        match self {
            Self::Bool(array) => out.push_str(if array.value(row) { "true" } else { "false" }),
            Self::Int8(array) => push_int(out, i64::from(array.value(row))),
            Self::Int16(array) => push_int(out, i64::from(array.value(row))),
            Self::Int32(array) => push_int(out, i64::from(array.value(row))),
            Self::Int64(array) => push_int(out, array.value(row)),
            Self::Float32(array) => push_float(out, array.value(row)),
            Self::Float64(array) => push_double(out, array.value(row)),
            Self::Decimal(array, scale) => push_big_decimal(out, array.value(row), *scale),
            Self::Date(array) => times.push_date(out, array.value(row))?,
            Self::Timestamp(array) => times.push_timestamp(out, array.value(row))?,
            Self::TimestampNtz(array) => times.push_timestamp_ntz(out, array.value(row))?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Appends a whole number.
pub(crate) fn push_int(out: &mut String, value: i64) {
    use std::fmt::Write;
    let _ = write!(out, "{value}");
}

/// One line separator of a writer.
pub(crate) fn write_line_separator(options: &Options) -> Result<Vec<u8>> {
    Ok(crate::read_options::line_separator(options)?.unwrap_or_else(|| b"\n".to_vec()))
}
