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
