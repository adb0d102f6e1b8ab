//! Spark's types as Arrow types, and back.
//!
//! Inside the analyzer the Spark type is the truth and the Arrow type follows from it. Nested fields are always
//! nullable in Arrow, whatever Spark says: DataFusion compares types with their nested nullability, and kernels,
//! `CASE` branches and unions would otherwise differ in nothing else. Spark's own nullability is kept in the
//! Spark type.

use std::sync::Arc;

use arrow::datatypes::{DataType as ArrowType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};
use millstream_sql::ir::{DataType, StructField};

use crate::error::{AnalysisError, Result};
use millstream_sql::Span;

/// Name of the element field of an Arrow list.
pub const ELEMENT: &str = "element";

/// The Arrow type in which values of `data_type` are kept.
pub fn to_arrow(data_type: &DataType) -> millstream_core::Result<ArrowType> {
    arrow_type(data_type).map_err(|error| error.into_core(None))
}

/// The Spark type of an Arrow type; wider than it where Spark has no such type (`UInt32` is BIGINT).
pub fn from_arrow(arrow: &ArrowType) -> millstream_core::Result<DataType> {
    spark_type(arrow).map_err(|error| error.into_core(None))
}

pub(crate) fn arrow_type(data_type: &DataType) -> Result<ArrowType> {
    Ok(match data_type {
        DataType::Null => ArrowType::Null,
        DataType::Boolean => ArrowType::Boolean,
        DataType::Byte => ArrowType::Int8,
        DataType::Short => ArrowType::Int16,
        DataType::Int => ArrowType::Int32,
        DataType::Long => ArrowType::Int64,
        DataType::Float => ArrowType::Float32,
        DataType::Double => ArrowType::Float64,
        DataType::Decimal { precision, scale } => ArrowType::Decimal128(*precision, *scale),
        DataType::String | DataType::Char(_) | DataType::Varchar(_) => ArrowType::Utf8,
        DataType::Binary => ArrowType::Binary,
        DataType::Date => ArrowType::Date32,
        DataType::Time(_) => ArrowType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp => timestamp(),
        DataType::TimestampNtz => ArrowType::Timestamp(TimeUnit::Microsecond, None),
        DataType::YearMonthInterval { .. } => ArrowType::Interval(IntervalUnit::YearMonth),
        DataType::DayTimeInterval { .. } => ArrowType::Duration(TimeUnit::Microsecond),
        DataType::CalendarInterval => ArrowType::Interval(IntervalUnit::MonthDayNano),
        DataType::Array { element, .. } => list_of(arrow_type(element)?),
        DataType::Map { key, value, .. } => map_of(arrow_type(key)?, arrow_type(value)?),
        DataType::Struct(fields) => ArrowType::Struct(arrow_fields(fields)?),
        other => return Err(AnalysisError::unsupported(format!("the type {}", other.sql()), Span::NONE)),
    })
}

/// The Arrow fields of a struct's fields.
pub(crate) fn arrow_fields(fields: &[StructField]) -> Result<Fields> {
    fields.iter().map(|field| Ok(Arc::new(Field::new(&field.name, arrow_type(&field.data_type)?, true)) as FieldRef)).collect()
}

/// TIMESTAMP
pub(crate) fn timestamp() -> ArrowType {
    ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// ARRAY of an Arrow type.
pub(crate) fn list_of(element: ArrowType) -> ArrowType {
    ArrowType::List(Arc::new(Field::new(ELEMENT, element, true)))
}

fn map_of(key: ArrowType, value: ArrowType) -> ArrowType {
    let entries = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    ArrowType::Map(Arc::new(Field::new("entries", ArrowType::Struct(entries), false)), false)
}

pub(crate) fn spark_type(arrow: &ArrowType) -> Result<DataType> {
    Ok(match arrow {
        ArrowType::Null => DataType::Null,
        ArrowType::Boolean => DataType::Boolean,
        ArrowType::Int8 => DataType::Byte,
        ArrowType::Int16 | ArrowType::UInt8 => DataType::Short,
        ArrowType::Int32 | ArrowType::UInt16 => DataType::Int,
        ArrowType::Int64 | ArrowType::UInt32 => DataType::Long,
        ArrowType::UInt64 => DataType::Decimal { precision: 20, scale: 0 },
        ArrowType::Float16 | ArrowType::Float32 => DataType::Float,
        ArrowType::Float64 => DataType::Double,
        ArrowType::Decimal32(p, s) | ArrowType::Decimal64(p, s) | ArrowType::Decimal128(p, s) if *s >= 0 => {
            DataType::Decimal { precision: *p, scale: *s }
        }
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => DataType::String,
        ArrowType::Binary | ArrowType::LargeBinary | ArrowType::BinaryView | ArrowType::FixedSizeBinary(_) => DataType::Binary,
        ArrowType::Date32 | ArrowType::Date64 => DataType::Date,
        ArrowType::Time64(_) | ArrowType::Time32(_) => DataType::Time(6),
        ArrowType::Timestamp(_, Some(_)) => DataType::Timestamp,
        ArrowType::Timestamp(_, None) => DataType::TimestampNtz,
        ArrowType::Duration(_) => DataType::DAY_TIME,
        ArrowType::Interval(IntervalUnit::YearMonth) => DataType::YEAR_MONTH,
        ArrowType::Interval(_) => DataType::CalendarInterval,
        ArrowType::Dictionary(_, value) => spark_type(value)?,
        ArrowType::RunEndEncoded(_, values) => spark_type(values.data_type())?,
        ArrowType::List(f)
        | ArrowType::LargeList(f)
        | ArrowType::FixedSizeList(f, _)
        | ArrowType::ListView(f)
        | ArrowType::LargeListView(f) => DataType::Array { element: Box::new(spark_type(f.data_type())?), contains_null: f.is_nullable() },
        ArrowType::Struct(fields) => DataType::Struct(fields.iter().map(|f| spark_field(f)).collect::<Result<_>>()?),
        ArrowType::Map(entries, _) => match entries.data_type() {
            ArrowType::Struct(pair) if pair.len() == 2 => {
                let (Some(key), Some(value)) = (pair.first(), pair.get(1)) else {
                    return Err(AnalysisError::internal("a map without key and value"));
                };
                DataType::Map {
                    key: Box::new(spark_type(key.data_type())?),
                    value: Box::new(spark_type(value.data_type())?),
                    value_contains_null: value.is_nullable(),
                }
            }
            _ => return Err(AnalysisError::internal("a map without key and value")),
        },
        other => return Err(AnalysisError::unsupported(format!("the column type {other}"), Span::NONE)),
    })
}

/// The Spark field of an Arrow field.
pub(crate) fn spark_field(field: &Field) -> Result<StructField> {
    Ok(StructField { nullable: field.is_nullable(), ..StructField::new(field.name(), spark_type(field.data_type())?) })
}

#[cfg(test)]
mod tests;
