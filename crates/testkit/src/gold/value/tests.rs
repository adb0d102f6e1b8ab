//! The form of values: floats like Python's `repr`, dates and times without a calendar library.

use super::{arrow_type, date, float, timestamp, type_name};

fn double(value: f64) -> String {
    float(value, &format!("{value:e}"))
}

#[test]
fn doubles_look_like_python_wrote_them() {
    for (value, text) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.5, "1.5"),
        (100.0, "100.0"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1e16, "1e+16"),
        (1e15, "1000000000000000.0"),
        (1.25e21, "1.25e+21"),
        (-123_456_789.123, "-123456789.123"),
        (f64::NAN, "NaN"),
        (f64::NEG_INFINITY, "-Infinity"),
    ] {
        assert_eq!(double(value), text);
    }
}

#[test]
fn dates_and_times_reach_past_four_digits_and_before_the_epoch() {
    assert_eq!(date(0), "1970-01-01");
    assert_eq!(date(-1), "1969-12-31");
    assert_eq!(date(18_321), "2020-02-29");
    assert_eq!(date(-719_162), "0001-01-01");
    assert_eq!(date(-719_529), "-0001-12-31");
    assert_eq!(date(2_932_897), "+10000-01-01");
    assert_eq!(timestamp(-1), "1969-12-31 23:59:59.999999");
    assert_eq!(timestamp(1_577_934_245_678_901), "2020-01-02 03:04:05.678901");
}

#[test]
fn types_go_to_arrow_and_back() {
    for text in
        ["int", "decimal(10,2)", "array<struct<a:int,b:map<string,decimal(38,18)>>>", "struct<>", "struct<x y:array<timestamp>>", "void"]
    {
        assert_eq!(type_name(&arrow_type(text).unwrap()), text);
    }
    assert!(arrow_type("array<foo>").is_err());
}
