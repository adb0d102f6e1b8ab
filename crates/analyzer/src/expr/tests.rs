//! Texts of literals, as Java and Spark write them.
use super::literal::{decimal_text, double_text};

#[test]
fn doubles_print_as_in_java() {
    let cases = [
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (0.001, "0.001"),
        (1.0e-4, "1.0E-4"),
        (123_456.789, "123456.789"),
        (1.0e7, "1.0E7"),
        (1.577_934_245_5e9, "1.5779342455E9"),
        (f64::NAN, "NaN"),
        (f64::NEG_INFINITY, "-Infinity"),
    ];
    for (value, text) in cases {
        assert_eq!(double_text(value), text);
    }
}

#[test]
fn decimals_keep_their_scale() {
    assert_eq!(decimal_text(150, 2), "1.50");
    assert_eq!(decimal_text(-5, 3), "-0.005");
    assert_eq!(decimal_text(100_000, 0), "100000");
}
