//! Known answers of Spark 4.3 (gold `math-*`).

use datafusion::common::ScalarValue as S;

use crate::testing::eval;

fn decimal(unscaled: i128, precision: u8, scale: i8) -> S {
    S::Decimal128(Some(unscaled), precision, scale)
}

#[test]
fn rounding_follows_the_type() {
    for (name, args, expected) in [
        ("round", vec![decimal(25, 2, 1)], "3"),
        ("round", vec![decimal(-25, 2, 1)], "-3"),
        ("round", vec![S::from(2.5)], "3.0"),
        ("round", vec![S::from(1.005), S::from(2)], "1.01"),
        ("round", vec![S::from(125), S::from(-1)], "130"),
        ("round", vec![S::from(i32::MAX), S::from(-1)], "!ARITHMETIC_OVERFLOW"),
        ("round", vec![decimal(12345, 5, 3), S::from(-1)], "10"),
        ("bround", vec![S::from(2.5)], "2.0"),
        ("bround", vec![decimal(35, 2, 1)], "4"),
        ("bround", vec![S::from(25), S::from(-1)], "20"),
        ("ceil", vec![decimal(12, 2, 1)], "2"),
        ("ceil", vec![S::from(-1.2)], "-1"),
        ("ceil", vec![decimal(12345, 5, 4), S::from(2)], "1.24"),
        ("floor", vec![S::from(123), S::from(-1)], "120"),
        ("floor", vec![decimal(-18, 2, 1)], "-2"),
        ("floor", vec![S::from(f64::INFINITY)], "!ARITHMETIC_OVERFLOW"),
        ("round", vec![S::from(f64::MAX), S::from(2)], "1.7976931348623157E308"),
    ] {
        assert_eq!(eval(name, args.clone()), expected, "{name} {args:?}");
    }
}

#[test]
fn logarithms_of_what_is_not_positive_are_null() {
    assert_eq!(eval("ln", vec![S::from(0.0)]), "NULL");
    assert_eq!(eval("log", vec![S::from(2.0), S::from(8.0)]), "3.0");
    assert_eq!(eval("log", vec![S::from(0.0), S::from(1.0)]), "NULL");
    assert_eq!(eval("sqrt", vec![S::from(-1.0)]), "NaN");
    assert_eq!(eval("exp", vec![S::from(1.0)]), "2.7182818284590455");
    assert_eq!(eval("cosh", vec![S::from(1.0)]), "1.543080634815244");
}

#[test]
fn bits() {
    assert_eq!(eval("shiftrightunsigned", vec![S::from(-16), S::from(2)]), "1073741820");
    assert_eq!(eval("bitwise_not", vec![S::from(5)]), "-6");
    assert_eq!(eval("bit_get", vec![S::from(11), S::from(32)]), "!INVALID_PARAMETER_VALUE.BIT_POSITION_RANGE");
    assert_eq!(eval("factorial", vec![S::from(21)]), "NULL");
    assert_eq!(eval("width_bucket", vec![S::from(5.3), S::from(0.2), S::from(10.6), S::from(5i64)]), "3");
}
