//! Columns of a parquet file as the columns that are wanted: by name, missing ones null, types widened where no value can
//! change. Anything else is an error that names the column, as in Spark.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use millstream_core::{Error, Result};

/// The type in which Spark reads a column of this type.
pub(crate) fn spark_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Dictionary(_, values) => spark_type(values),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => DataType::Decimal128(*precision, *scale),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| spark_field(field)).collect()),
        DataType::List(item) | DataType::LargeList(item) => {
            DataType::List(Arc::new(Field::new("element", spark_type(item.data_type()), true)))
        }
        DataType::Map(entries, ordered) => match entries.data_type() {
            DataType::Struct(pair) => {
                // Keys cannot be null; values stay as they are declared.
                let pair = pair.iter().map(|field| field.as_ref().clone().with_data_type(spark_type(field.data_type()))).collect();
                DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(DataType::Struct(pair))), *ordered)
            }
            _ => data_type.clone(),
        },
        other => other.clone(),
    }
}

fn spark_field(field: &Field) -> Field {
    Field::new(field.name(), spark_type(field.data_type()), true)
}

/// A file's schema as Spark reads it.
pub(super) fn spark_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|field| spark_field(field)).collect::<Vec<_>>()))
}

/// `array` as `to`; `path` names the column in the message.
pub(crate) fn adapt(array: &ArrayRef, to: &DataType, path: &str) -> Result<ArrayRef> {
    let from = array.data_type();
    if from == to {
        return Ok(Arc::clone(array));
    }
    match (from, to) {
        (DataType::Struct(from_fields), DataType::Struct(to_fields)) => {
            let source = array.as_struct();
            let children = to_fields
                .iter()
                .map(|field| match position(from_fields.iter().map(|from| from.name().as_str()), field.name()) {
                    Some(idx) => adapt(source.column(idx), field.data_type(), &format!("{path}.{}", field.name())),
                    None => Ok(new_null_array(field.data_type(), source.len())),
                })
                .collect::<Result<Vec<_>>>()?;
            Ok(Arc::new(StructArray::try_new_with_length(to_fields.clone(), children, source.nulls().cloned(), source.len())?))
        }
        (DataType::List(_), DataType::List(item)) => {
            let source = array.as_list::<i32>();
            let values = adapt(source.values(), item.data_type(), &format!("{path}.element"))?;
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), source.offsets().clone(), values, source.nulls().cloned())?))
        }
        (DataType::Map(..), DataType::Map(entries, ordered)) => {
            let source = array.as_map();
            let values: ArrayRef = Arc::new(source.entries().clone());
            let positional = match (entries.data_type(), source.entries().columns()) {
                (DataType::Struct(pair), [keys, items]) => match pair.as_ref() {
                    [key, item] => {
                        let columns = vec![
                            adapt(keys, key.data_type(), &format!("{path}.key"))?,
                            adapt(items, item.data_type(), &format!("{path}.value"))?,
                        ];
                        Some(StructArray::try_new(pair.clone(), columns, source.entries().nulls().cloned())?)
                    }
                    _ => None,
                },
                _ => None,
            };
            let Some(adapted) = positional else { return adapt(&values, entries.data_type(), path) };
            Ok(Arc::new(MapArray::try_new(Arc::clone(entries), source.offsets().clone(), adapted, source.nulls().cloned(), *ordered)?))
        }
        // The clock reading is kept, the label changes.
        (DataType::Timestamp(unit, None), DataType::Timestamp(TimeUnit::Microsecond, Some(_))) => {
            let utc = DataType::Timestamp(*unit, Some("UTC".into()));
            Ok(cast(&cast(array, &utc)?, to)?)
        }
        _ if widens(from, to) => Ok(cast(array, to)?),
        _ => Err(Error::data(format!("parquet column '{path}' is {from}, which cannot be read as {to}"))
            .code("FAILED_READ_FILE.PARQUET_COLUMN_DATA_TYPE_MISMATCH")
            .hint("give the column the file's type in the schema, and cast it in the query")),
    }
}

/// Where a name is among others: exactly, else without case, as Spark resolves columns by default.
pub(super) fn position<'a>(names: impl Iterator<Item = &'a str> + Clone, name: &str) -> Option<usize> {
    names.clone().position(|known| known == name).or_else(|| names.clone().position(|known| known.eq_ignore_ascii_case(name)))
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, to, &options).map_err(|error| Error::data(error.to_string()))
}

/// Whether every value of one type is a value of the other.
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    let digits = |data_type: &D| match data_type {
        D::Int8 => Some(3),
        D::Int16 => Some(5),
        D::Int32 => Some(10),
        D::Int64 => Some(20),
        _ => None,
    };
    match (from, to) {
        (D::Null, _) => true,
        (D::Int8, D::Int16 | D::Int32 | D::Int64 | D::Float32 | D::Float64) => true,
        (D::Int16, D::Int32 | D::Int64 | D::Float32 | D::Float64) => true,
        (D::Int32, D::Int64 | D::Float64) => true,
        (D::UInt8, D::Int16 | D::Int32 | D::Int64) | (D::UInt16, D::Int32 | D::Int64) | (D::UInt32, D::Int64) => true,
        (D::UInt64, D::Decimal128(precision, 0)) => *precision >= 20,
        // Parquet has no 8 and 16 bit integers of its own: writers that do not annotate them give INT32.
        (D::Int32, D::Int8 | D::Int16) => true,
        (D::Float16, D::Float32 | D::Float64) | (D::Float32, D::Float64) => true,
        (D::Date32, D::Timestamp(TimeUnit::Microsecond, None)) => true,
        (D::Timestamp(_, None), D::Timestamp(TimeUnit::Microsecond, None)) => true,
        (D::Timestamp(_, Some(_)), D::Timestamp(TimeUnit::Microsecond, Some(_))) => true,
        (D::Utf8 | D::LargeUtf8 | D::Utf8View, D::Utf8 | D::Binary) => true,
        (D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_), D::Binary | D::Utf8) => true,
        (D::Dictionary(_, values), to) => values.as_ref() == to || widens(values, to),
        (
            D::Decimal32(p1, s1) | D::Decimal64(p1, s1) | D::Decimal128(p1, s1) | D::Decimal256(p1, s1),
            D::Decimal128(p2, s2) | D::Decimal256(p2, s2),
        ) => s2 >= s1 && i16::from(*p2) - i16::from(*s2) >= i16::from(*p1) - i16::from(*s1),
        (int, D::Decimal128(precision, scale)) => {
            digits(int).is_some_and(|digits| *scale >= 0 && i16::from(*precision) - i16::from(*scale) >= digits)
        }
        _ => false,
    }
}
