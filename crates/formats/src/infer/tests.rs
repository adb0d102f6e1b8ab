//! The lattice of types, and counting digits as Java does.

use super::*;

#[test]
fn types_are_merged_as_spark_merges_them() {
    use Seen::*;
    for (a, b, want) in [
        (Null, Long, Long),
        (Int, Long, Long),
        (Long, Double, Double),
        (Long, Decimal(2, 1), Decimal(21, 1)),
        (Long, Decimal(30, 0), Decimal(30, 0)),
        (Decimal(38, 0), Decimal(10, 5), Double),
        (Decimal(20, 0), Double, Double),
        (Bool, Long, Str),
        (Date, Timestamp, Timestamp),
        (Date, Int, Str),
        (Array(Box::new(Null)), Array(Box::new(Long)), Array(Box::new(Long))),
        (Array(Box::new(Long)), Struct(BTreeMap::new()), Str),
    ] {
        assert_eq!(a.clone().merge(b.clone()), want, "{a:?} {b:?}");
        assert_eq!(b.merge(a), want);
    }
}

#[test]
fn digits_are_counted_as_java_counts_them() {
    for (text, want) in [
        ("0.1", Some((1, 1))),
        ("2.50", Some((3, 2))),
        ("12345678901234567890", Some((20, 0))),
        ("1e3", Some((1, -3))),
        ("-0", Some((1, 0))),
        ("x", None),
        (".", None),
        ("1e", None),
    ] {
        assert_eq!(decimal_shape(text), want, "{text}");
    }
}

#[test]
fn a_sample_is_an_even_share_with_the_first() {
    let mut sample = Sample::new(0.25);
    let taken: Vec<bool> = (0..8).map(|_| sample.takes()).collect();
    assert_eq!(taken, [true, false, false, false, true, false, false, false]);
    let mut all = Sample::new(1.0);
    assert!((0..100).all(|_| all.takes()));
}
