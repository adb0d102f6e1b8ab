//! Known answers of Spark's casts to STRING.

use super::*;

fn double(value: f64) -> String {
    let mut out = String::new();
    write_double(&mut out, value);
    out
}

#[test]
fn doubles_print_as_java_prints_them() {
    for (value, text) in [
        (1.0, "1.0"),
        (1e7, "1.0E7"),
        (1.0E6, "1000000.0"),
        (12345678.9, "1.23456789E7"),
        (0.001, "0.001"),
        (0.0001, "1.0E-4"),
        (1e21, "1.0E21"),
        (-0.0, "-0.0"),
        (f64::NAN, "NaN"),
        (f64::NEG_INFINITY, "-Infinity"),
        (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
        (f64::MAX, "1.7976931348623157E308"),
    ] {
        assert_eq!(double(value), text);
    }
}

#[test]
fn floats_print_as_java_prints_them() {
    for (value, text) in [(0.1f32, "0.1"), (3.4028235e38, "3.4028235E38"), (16777216.0, "1.6777216E7")] {
        let mut out = String::new();
        write_float(&mut out, value);
        assert_eq!(out, text);
    }
}

#[test]
fn decimals_print_plain() {
    for (unscaled, scale, text) in [(110, 2, "1.10"), (1, 20, "0.00000000000000000001"), (0, 8, "0.00000000"), (-5, 1, "-0.5"), (7, 0, "7")]
    {
        let mut out = String::new();
        write_decimal(&mut out, unscaled, scale);
        assert_eq!(out, text);
    }
    let mut out = String::new();
    write_decimal(&mut out, i128::MIN, 38);
    assert_eq!(out, "-1.70141183460469231731687303715884105728");
}
