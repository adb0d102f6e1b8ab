//! Result types and values that Spark 4.3 gives.

use super::*;

#[test]
fn result_types_follow_sparks_rules() {
    assert_eq!(add_type((10, 2), (5, 4)), (13, 4));
    assert_eq!(multiply_type((10, 2), (5, 4)), (16, 6));
    assert_eq!(divide_type((10, 2), (5, 4)), (20, 8));
    assert_eq!(multiply_type((38, 10), (38, 10)), (38, 6));
    assert_eq!(divide_type((38, 18), (38, 18)), (38, 6));
    assert_eq!(remainder_type((10, 2), (5, 4)), (5, 4));
    assert_eq!(round_type((3, 1), 0), (3, 0));
    assert_eq!(round_type((5, 3), -1), (3, 0));
    assert_eq!(divide_type((10, 2), (20, 0)), (31, 23));
}

#[test]
fn text_is_fitted_half_up() {
    let read = |text: &str, to| parse(text).and_then(|parsed| fit(parsed, to));
    assert_eq!(read("1.55", (10, 1)), Ok(16));
    assert_eq!(read("1.45", (10, 1)), Ok(15));
    assert_eq!(read("1e3", (10, 2)), Ok(100_000));
    assert_eq!(read("1000", (3, 0)), Err(ParseFault::OutOfRange));
    assert_eq!(read("1e100", (38, 0)), Err(ParseFault::TooLarge));
    assert_eq!(read("1e-100", (38, 0)), Ok(0));
    assert_eq!(read("99999999999999999999999999999999999999", (38, 0)), Ok(10i128.pow(38) - 1));
    assert_eq!(read("", (3, 0)), Err(ParseFault::Malformed));
    assert_eq!(read(".", (3, 0)), Err(ParseFault::Malformed));
    assert_eq!(read("1e", (3, 0)), Err(ParseFault::Malformed));
    assert_eq!(read("5.", (3, 0)), Ok(5));
    assert_eq!(read("-0.05", (3, 1)), Ok(-1));
    assert_eq!(read("0e999999999999", (3, 1)), Ok(0));
}

#[test]
fn products_and_quotients_are_exact_before_they_are_rounded() {
    assert_eq!(divide(100, 2, 30_000, 4, (20, 8)), Some(33_333_333));
    assert_eq!(multiply(10i128.pow(10), 10, 10i128.pow(10), 10, (38, 6)), Some(1_000_000));
    assert_eq!(multiply(10i128.pow(37), 0, 10, 0, (38, 0)), None);
    assert_eq!(divide(-100, 0, 700, 2, (31, 23)).map(|v| v < 0), Some(true));
    assert_eq!(remainder(700, 2, 30_000, 4, (5, 4)), Some(10_000));
    assert_eq!(add(i128::MAX, 0, 1, 38, false, (38, 6)), None);
}
