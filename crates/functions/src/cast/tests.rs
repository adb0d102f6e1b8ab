//! Known answers of Spark 4.3 (gold `cast-*`), on columns with NULLs and offsets.

use arrow::array::{Int32Array, Int64Array, StringArray};

use super::*;
use crate::error::error_class;
use crate::types::parse_type;

fn options(mode: CastMode) -> CastOptions {
    CastOptions::new(mode, Zone::parse("UTC").unwrap())
}

/// Casts text to a type in ANSI mode and prints the result as text, or the error's class.
fn via(text: &str, types: &[&str]) -> String {
    via_zone(text, types, "UTC")
}

fn via_zone(text: &str, types: &[&str], zone: &str) -> String {
    let options = CastOptions::new(CastMode::Ansi, Zone::parse(zone).unwrap());
    let mut array: ArrayRef = Arc::new(StringArray::from(vec![text]));
    for name in types {
        match cast_array(&array, &parse_type(name).unwrap(), &options) {
            Ok(result) => array = result,
            Err(error) => return format!("!{}", error_class(&error).unwrap_or("?")),
        }
    }
    let text = cast_array(&array, &DataType::Utf8, &options).unwrap();
    if text.is_null(0) { "NULL".into() } else { text.as_string::<i32>().value(0).into() }
}

#[test]
fn text_to_numbers() {
    for (text, to, expected) in [
        (" 12 ", "int", "12"),
        ("\t12\n", "int", "12"),
        ("+5", "int", "5"),
        ("1.9", "int", "!CAST_INVALID_INPUT"),
        ("-", "int", "!CAST_INVALID_INPUT"),
        ("", "int", "!CAST_INVALID_INPUT"),
        ("2147483648", "int", "!CAST_INVALID_INPUT"),
        ("-9223372036854775808", "bigint", "-9223372036854775808"),
        ("-128", "tinyint", "-128"),
        ("1e3", "double", "1000.0"),
        ("1e3", "decimal(10,2)", "1000.00"),
        ("nan", "double", "NaN"),
        ("-inf", "double", "-Infinity"),
        ("1.5f", "double", "1.5"),
        ("1.5d", "double", "1.5"),
        (".5", "double", "0.5"),
        ("5.", "double", "5.0"),
        ("1,5", "double", "!CAST_INVALID_INPUT"),
        ("d", "double", "!CAST_INVALID_INPUT"),
        ("1000", "decimal(3,0)", "!NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION"),
        ("1e100", "decimal(38,0)", "!NUMERIC_OUT_OF_SUPPORTED_RANGE"),
        (" yes ", "boolean", "true"),
        ("on", "boolean", "!CAST_INVALID_INPUT"),
    ] {
        assert_eq!(via(text, &[to]), expected, "{text} as {to}");
    }
}

#[test]
fn numbers_to_numbers() {
    for (text, types, expected) in [
        ("1.9", &["double", "int"][..], "1"),
        ("-1.9", &["decimal(3,1)", "int"], "-1"),
        ("128", &["int", "tinyint"], "!CAST_OVERFLOW"),
        ("NaN", &["double", "int"], "!CAST_OVERFLOW"),
        ("1e20", &["double", "bigint"], "!CAST_OVERFLOW"),
        ("1.005", &["double", "decimal(10,2)"], "1.01"),
        ("-1.235", &["decimal(10,3)", "decimal(10,2)"], "-1.24"),
        ("123.45", &["decimal(10,2)", "decimal(4,2)"], "!NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION"),
        ("0.1", &["double", "decimal(20,18)"], "0.100000000000000000"),
        ("0.1", &["float", "double"], "0.10000000149011612"),
        ("1e40", &["double", "float"], "Infinity"),
        ("9007199254740993", &["bigint", "double"], "9.007199254740992E15"),
        ("true", &["boolean", "decimal(3,1)"], "1.0"),
        ("0.5", &["decimal(1,1)", "boolean"], "true"),
    ] {
        assert_eq!(via(text, types), expected, "{text} as {types:?}");
    }
}

#[test]
fn dates_and_timestamps() {
    for (text, types, expected) in [
        ("2020-1-2", &["date"][..], "2020-01-02"),
        ("epoch", &["date"], "1970-01-01"),
        ("20200102", &["date"], "!CAST_INVALID_INPUT"),
        ("2020-01-02T03:04:05.5+01:30", &["timestamp"], "2020-01-02 01:34:05.5"),
        ("2020-01-02 25:00:00", &["timestamp"], "!CAST_INVALID_INPUT"),
        ("2020-01-02T03:04:05+02:00", &["timestamp_ntz"], "2020-01-02 03:04:05"),
        ("1969-12-31 23:59:59.5", &["timestamp", "bigint"], "-1"),
        ("2020-01-02 03:04:05.7", &["timestamp", "double"], "1.5779342457E9"),
        ("2020-01-02 03:04:05.7", &["timestamp", "decimal(20,3)"], "1577934245.700"),
        ("2100-01-02 03:04:05", &["timestamp", "int"], "!CAST_OVERFLOW"),
        ("1577934245.123456789", &["decimal(20,9)", "timestamp"], "2020-01-02 03:04:05.123456"),
        ("9223372036854775807", &["bigint", "timestamp"], "+294247-01-10 04:00:54.775807"),
        ("NaN", &["double", "timestamp"], "!CAST_INVALID_INPUT"),
        ("2020-01-02 23:04:05", &["timestamp", "date"], "2020-01-02"),
    ] {
        assert_eq!(via(text, types), expected, "{text} as {types:?}");
    }
    assert_eq!(via_zone("2021-07-01", &["date", "timestamp", "bigint"], "Europe/Berlin"), "1625090400");
    assert_eq!(via_zone("2021-06-30 22:30:00Z", &["timestamp", "date"], "Europe/Berlin"), "2021-07-01");
    assert_eq!(via_zone("2021-07-01 12:00:00", &["timestamp_ntz", "timestamp", "bigint"], "Europe/Berlin"), "1625133600");
}

#[test]
fn intervals() {
    let text = |text: &str, to: &str| {
        let written = parse_written(to).unwrap();
        let mut options = options(CastMode::Ansi);
        options.to_range = written.range;
        let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
        let value = cast_array(&array, &written.data_type, &options).unwrap();
        options.from_range = written.range;
        let text = cast_array(&value, &DataType::Utf8, &options).unwrap();
        text.as_string::<i32>().value(0).to_string()
    };
    assert_eq!(text("1 02:03:04", "interval day to second"), "INTERVAL '1 02:03:04' DAY TO SECOND");
    assert_eq!(text("INTERVAL '1' DAY", "interval day"), "INTERVAL '1' DAY");
    assert_eq!(text("-1-2", "interval year to month"), "INTERVAL '-1-2' YEAR TO MONTH");
    assert_eq!(text("2 weeks 1.5 seconds", "interval"), "14 days 1.5 seconds");
}

#[test]
fn nested_values_become_text() {
    assert_eq!(via("1", &["int"]), "1");
    let list = ListArray::from_iter_primitive::<arrow::datatypes::Int32Type, _, _>([Some(vec![Some(1), None]), None]);
    let list: ArrayRef = Arc::new(list);
    let text = cast_array(&list, &DataType::Utf8, &options(CastMode::Ansi)).unwrap();
    assert_eq!(text.as_string::<i32>().value(0), "[1, null]");
    assert!(text.is_null(1));
}

#[test]
fn bad_values_under_null_or_outside_a_slice_raise_nothing() {
    let array: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), Some("1"), None, Some("y")]));
    let slice = array.slice(1, 2);
    let result = cast_array(&slice, &DataType::Int32, &options(CastMode::Ansi)).unwrap();
    assert_eq!(result.as_primitive::<arrow::datatypes::Int32Type>(), &Int32Array::from(vec![Some(1), None]));
    let result = cast_array(&array, &DataType::Int32, &options(CastMode::Try)).unwrap();
    assert_eq!(result.null_count(), 3);
}

#[test]
fn legacy_mode_wraps() {
    let array: ArrayRef = Arc::new(Int64Array::from(vec![2_147_483_648]));
    let result = cast_array(&array, &DataType::Int32, &options(CastMode::Legacy)).unwrap();
    assert_eq!(result.as_primitive::<arrow::datatypes::Int32Type>().value(0), i32::MIN);
}
