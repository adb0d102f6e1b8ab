//! Arrow columns and types in the form of the gold files (see `/gold/README.md`, "Types and values").

use std::sync::Arc;

use arrow::array::cast::AsArray;
use arrow::array::types::{
    Decimal128Type, DurationMicrosecondType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    IntervalYearMonthType, TimestampMicrosecondType,
};
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::Value;

/// Spark's catalog string of an Arrow type. Arrow does not keep the fields of an interval: a duration is
/// `interval day to second`, months are `interval year to month`.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "void".to_owned(),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => format!("decimal({p},{s})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp".to_owned(),
        DataType::Timestamp(_, None) => "timestamp_ntz".to_owned(),
        DataType::Duration(_) => "interval day to second".to_owned(),
        DataType::Interval(IntervalUnit::YearMonth) => "interval year to month".to_owned(),
        DataType::Interval(_) => "interval".to_owned(),
        DataType::List(field) | DataType::LargeList(field) => format!("array<{}>", type_name(field.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<String> = fields.iter().map(|f| format!("{}:{}", f.name(), type_name(f.data_type()))).collect();
            format!("struct<{}>", fields.join(","))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => {
                let pair: Vec<String> = pair.iter().map(|f| type_name(f.data_type())).collect();
                format!("map<{}>", pair.join(","))
            }
            other => format!("map of {other}"),
        },
        DataType::Dictionary(_, value) => type_name(value),
        other => format!("arrow {other}"),
    }
}

/// The Arrow type of one of Spark's catalog strings; the other direction of [`type_name`].
pub fn arrow_type(type_name: &str) -> Result<DataType, String> {
    let nullable = |name: &str, text: &str| Ok::<_, String>(Field::new(name, arrow_type(text)?, true));
    if let Some(element) = inside(type_name, "array<") {
        return Ok(DataType::List(Arc::new(nullable("element", element)?)));
    }
    if let Some(fields) = inside(type_name, "struct<") {
        let fields = split(fields).into_iter().map(|field| {
            let (name, field_type) = field.split_once(':').ok_or_else(|| format!("a field without type: {field}"))?;
            nullable(name, field_type)
        });
        return Ok(DataType::Struct(fields.collect::<Result<Fields, String>>()?));
    }
    if let Some(pair) = inside(type_name, "map<") {
        let [key, value] = split(pair)[..] else { return Err(format!("not a map: {type_name}")) };
        let pair = Fields::from(vec![Field::new("key", arrow_type(key)?, false), nullable("value", value)?]);
        return Ok(DataType::Map(Arc::new(Field::new("entries", DataType::Struct(pair), false)), false));
    }
    if let Some(digits) = type_name.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
        let parsed = digits.split_once(',').and_then(|(p, s)| Some((p.parse().ok()?, s.parse().ok()?)));
        return parsed.map(|(p, s)| DataType::Decimal128(p, s)).ok_or_else(|| format!("not a type: {type_name}"));
    }
    Ok(match type_name {
        "void" => DataType::Null,
        "boolean" => DataType::Boolean,
        "tinyint" => DataType::Int8,
        "smallint" => DataType::Int16,
        "int" => DataType::Int32,
        "bigint" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "string" => DataType::Utf8,
        "binary" => DataType::Binary,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
        other => return Err(format!("not a type: {other}")),
    })
}

fn inside<'a>(type_name: &'a str, open: &str) -> Option<&'a str> {
    type_name.strip_prefix(open)?.strip_suffix('>')
}

/// Splits at the commas that stand in no brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text.is_empty() {
        parts.push(text.get(start..).unwrap_or_default());
    }
    parts
}

/// All rows of the batches.
pub fn rows_of(batches: &[RecordBatch]) -> Result<Vec<Vec<Value>>, String> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            rows.push(batch.columns().iter().map(|column| value(column, row)).collect::<Result<_, _>>()?);
        }
    }
    Ok(rows)
}

fn value(array: &ArrayRef, row: usize) -> Result<Value, String> {
    if array.data_type() == &DataType::Null || array.is_null(row) {
        return Ok(Value::Null);
    }
    let text = |text: String| Ok(Value::String(text));
    match array.data_type() {
        DataType::Boolean => Ok(Value::Bool(array.as_boolean().value(row))),
        DataType::Int8 => text(array.as_primitive::<Int8Type>().value(row).to_string()),
        DataType::Int16 => text(array.as_primitive::<Int16Type>().value(row).to_string()),
        DataType::Int32 => text(array.as_primitive::<Int32Type>().value(row).to_string()),
        DataType::Int64 => text(array.as_primitive::<Int64Type>().value(row).to_string()),
        DataType::Float32 => {
            let value = array.as_primitive::<Float32Type>().value(row);
            text(float(f64::from(value), &format!("{value:e}")))
        }
        DataType::Float64 => {
            let value = array.as_primitive::<Float64Type>().value(row);
            text(float(value, &format!("{value:e}")))
        }
        DataType::Decimal128(_, _) => text(array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Utf8 => text(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => text(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => text(array.as_string_view().value(row).to_owned()),
        DataType::Binary => text(hex(array.as_binary::<i32>().value(row))),
        DataType::LargeBinary => text(hex(array.as_binary::<i64>().value(row))),
        DataType::BinaryView => text(hex(array.as_binary_view().value(row))),
        DataType::Date32 => text(date(i64::from(array.as_primitive::<arrow::array::types::Date32Type>().value(row)))),
        DataType::Timestamp(TimeUnit::Microsecond, _) => text(timestamp(array.as_primitive::<TimestampMicrosecondType>().value(row))),
        DataType::Timestamp(_, zone) => {
            let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone())).map_err(|e| e.to_string())?;
            value(&micros, row)
        }
        DataType::Duration(TimeUnit::Microsecond) => text(array.as_primitive::<DurationMicrosecondType>().value(row).to_string()),
        DataType::Interval(IntervalUnit::YearMonth) => text(array.as_primitive::<IntervalYearMonthType>().value(row).to_string()),
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let interval = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            let parts = [i64::from(interval.months), i64::from(interval.days), interval.nanoseconds / 1000];
            Ok(Value::Array(parts.iter().map(|part| Value::String(part.to_string())).collect()))
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let pairs = fields
                .iter()
                .zip(columns)
                .map(|(field, column)| Ok(Value::Array(vec![Value::String(field.name().clone()), value(column, row)?])));
            Ok(Value::Array(pairs.collect::<Result<_, String>>()?))
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let rows = (0..entries.len()).map(|entry| {
                let pair = entries.columns().iter().map(|column| value(column, entry));
                Ok(Value::Array(pair.collect::<Result<_, String>>()?))
            });
            Ok(Value::Array(rows.collect::<Result<_, String>>()?))
        }
        DataType::Dictionary(_, inner) => value(&cast(array, inner).map_err(|e| e.to_string())?, row),
        _ => {
            // Types that Spark does not have: shown so that the difference can be read.
            let formatter = ArrayFormatter::try_new(array, &FormatOptions::default()).map_err(|e| e.to_string())?;
            text(format!("{}: {}", array.data_type(), formatter.value(row)))
        }
    }
}

fn list(elements: &ArrayRef) -> Result<Value, String> {
    Ok(Value::Array((0..elements.len()).map(|i| value(elements, i)).collect::<Result<_, _>>()?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The layout of Python's `repr`, which wrote the files, from the shortest digits in Rust's `{:e}` form.
fn float(value: f64, scientific: &str) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    if !(-4..16).contains(&exponent) {
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{exponent_sign}{:02}", exponent.abs());
    }
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if exponent < 0 {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0));
        return format!("{sign}0.{zeros}{digits}");
    }
    let before = usize::try_from(exponent).unwrap_or(0) + 1;
    let padded = format!("{digits:0<before$}");
    let (whole, fraction) = padded.split_at(before);
    format!("{sign}{whole}.{}", if fraction.is_empty() { "0" } else { fraction })
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

fn timestamp(micros: i64) -> String {
    let (day, rest) = (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY));
    let (second, fraction) = (rest / 1_000_000, rest % 1_000_000);
    format!("{} {:02}:{:02}:{:02}.{fraction:06}", date(day), second / 3600, second / 60 % 60, second % 60)
}

/// Days since 1970 in the proleptic Gregorian calendar, as Java's `LocalDate` prints them.
fn date(days: i64) -> String {
    // Counted from 0000-03-01, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    match year {
        ..0 => format!("-{:04}-{month:02}-{day:02}", -year),
        10_000.. => format!("+{year}-{month:02}-{day:02}"),
        _ => format!("{year:04}-{month:02}-{day:02}"),
    }
}

#[cfg(test)]
mod tests;
