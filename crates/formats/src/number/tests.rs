//! Decimals are rounded half up and refused when too wide.

use super::*;

#[test]
fn decimals_are_rounded_half_up_and_bounded() {
    for (text, want) in [
        ("1.255", Some(126)),
        ("-1.255", Some(-126)),
        ("1.2", Some(120)),
        ("99.99", Some(9999)),
        ("99.995", None),
        ("99.994999", Some(9999)),
        ("100", None),
        ("1e1", Some(1000)),
        ("1E-3", Some(0)),
        ("5e-3", Some(1)),
        ("0e999999999", Some(0)),
        ("0.0000000000000000000000000000000000000000000000001", Some(0)),
        ("00000000000000000000000000000000000000000000000001.5", Some(150)),
        (".5", Some(50)),
        ("5.", Some(500)),
        ("+5", Some(500)),
        ("", None),
        (".", None),
        ("1e", None),
        ("x", None),
        ("1e400", None),
        ("1e-400", Some(0)),
    ] {
        assert_eq!(parse_decimal(text, 4, 2), want, "{text}");
    }
    assert_eq!(parse_decimal("99999999999999999999999999999999999999", 38, 0), Some(10_i128.pow(38) - 1));
    assert_eq!(parse_decimal("100000000000000000000000000000000000000", 38, 0), None);
}

#[test]
fn doubles_print_as_java_prints_them() {
    let double = |value: f64| {
        let mut out = String::new();
        push_double(&mut out, value);
        out
    };
    for (value, want) in [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e20, "1.0E20"),
        (1e-5, "1.0E-5"),
        (1e-3, "0.001"),
        (9.999e-4, "9.999E-4"),
        (123_456_789.123, "1.23456789123E8"),
        (1e7, "1.0E7"),
        (9_999_999.0, "9999999.0"),
        (1_234_567.125, "1234567.125"),
        (0.1, "0.1"),
        (0.012_5, "0.0125"),
        (100.0, "100.0"),
        (f64::MAX, "1.7976931348623157E308"),
        (5e-324, "4.9E-324"),
        (f64::NAN, "NaN"),
        (f64::NEG_INFINITY, "-Infinity"),
    ] {
        assert_eq!(double(value), want);
    }
    let mut out = String::new();
    for value in [1.5_f32, 12_345_678.0, 1.175_494_4e-38, 0.1, 3.4e38] {
        push_float(&mut out, value);
        out.push(' ');
    }
    assert_eq!(out, "1.5 1.2345678E7 1.1754944E-38 0.1 3.4E38 ");
}

#[test]
fn doubles_are_read_as_java_reads_them() {
    for (text, want) in [
        ("2 ", Some(2.0)),
        ("1f", Some(1.0)),
        ("-.5", Some(-0.5)),
        ("+5", Some(5.0)),
        ("inf", None),
        ("nan", None),
        ("", None),
        ("1e1", Some(10.0)),
        ("-Infinity", Some(f64::NEG_INFINITY)),
        ("x", None),
    ] {
        assert_eq!(parse_java_double(text), want, "{text}");
    }
}
