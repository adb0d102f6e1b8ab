//! Bounds, milliseconds and all: on which side, from which conditions, how long.

use datafusion::logical_expr::{Expr, case, col, lit};
use millstream_functions as functions;

use super::*;

fn l() -> Expr {
    col("l")
}

fn r() -> Expr {
    col("r")
}

fn us(us: i64) -> Expr {
    lit(ScalarValue::DurationMicrosecond(Some(us)))
}

fn call(kernel: &str, args: Vec<Expr>) -> Expr {
    crate::registry::udf_of(functions::scalar(kernel).unwrap()).call(args)
}

fn plus(time: Expr, micros: i64) -> Expr {
    call("add_interval", vec![time, us(micros), lit("UTC")])
}

fn minus(time: Expr, micros: i64) -> Expr {
    call("subtract_interval", vec![time, us(micros), lit("UTC")])
}

/// How many milliseconds longer than its own event time a left row is kept, and a right one.
type Kept = (Option<i64>, Option<i64>);

fn kept(conjuncts: &[Expr]) -> Kept {
    let (l, r) = ([Column::new_unqualified("l")], [Column::new_unqualified("r")]);
    let offset = |bound: Option<Bound>| bound.map(|bound| bound.offset_ms);
    (offset(bound_of(&l, &r, conjuncts)), offset(bound_of(&r, &l, conjuncts)))
}

#[test]
fn each_side_is_bounded_by_the_condition_that_limits_it_from_below() {
    let cases: Vec<(Vec<Expr>, Kept)> = vec![
        // r between l - 5 s and l + 10 s; equality keeps rows a millisecond longer.
        (vec![r().gt_eq(minus(l(), 5_000_000)), r().lt_eq(plus(l(), 10_000_000))], (Some(10_001), Some(5_001))),
        (vec![r().between(minus(l(), 5_000_000), plus(l(), 10_000_000))], (Some(10_001), Some(5_001))),
        (vec![r().gt(l()), r().lt(plus(l(), 10_000_000))], (Some(10_000), Some(0))),
        // The arithmetic may stand on either side, on both, and the other way round.
        (vec![minus(r(), 10_000_000).lt_eq(l())], (Some(10_001), None)),
        (vec![plus(l(), 10_000_000).gt(plus(r(), 4_000_000))], (Some(6_000), None)),
        (vec![call("subtract_timestamps", vec![r(), l(), lit("UTC")]).lt_eq(us(10_000_000))], (Some(10_001), None)),
        // Parts of a millisecond are rounded to the safe side.
        (vec![r().lt(plus(l(), 1_500))], (Some(2), None)),
        (vec![r().lt(minus(l(), 1_500))], (Some(-1), None)),
        // Of several bounds the loosest, as in Spark.
        (vec![r().lt(plus(l(), 1_000_000)), r().lt(plus(l(), 3_000_000))], (Some(3_000), None)),
        // Equality bounds both, never earlier than by the row's own time.
        (vec![l().eq(r())], (Some(0), Some(0))),
        (vec![l().eq(plus(r(), 60_000_000))], (Some(0), Some(60_000))),
        // From above is no bound, nor is anything that is not one event time against the other.
        (vec![r().gt_eq(l())], (None, Some(1))),
        (vec![l().lt(col("x"))], (None, None)),
        (vec![l().lt(us(5))], (None, None)),
        (vec![l().not_eq(r())], (None, None)),
        (vec![l().lt(r()).or(l().gt(r()))], (None, None)),
        (vec![r().lt(call("add_interval", vec![l(), lit(ScalarValue::new_interval_mdn(1, 0, 0)), lit("UTC")]))], (None, None)),
        (vec![r().lt(call("add_interval", vec![l(), lit(ScalarValue::new_interval_mdn(0, 1, 0)), lit("UTC")]))], (Some(86_400_000), None)),
    ];
    for (conjuncts, want) in cases {
        assert_eq!(kept(&conjuncts), want, "{conjuncts:?}");
    }
}

#[test]
fn a_guard_against_errors_hides_no_bound() {
    let guarded = case(lit(true)).when(lit(true), plus(l(), 10_000_000)).end().unwrap();
    assert_eq!(kept(&[r().lt(guarded)]), (None, None), "a case over a value is no guard");
    let guarded = datafusion::logical_expr::when(col("k").is_not_false(), plus(l(), 10_000_000)).end().unwrap();
    assert_eq!(kept(&[r().lt(guarded)]), (Some(10_000), None));
    let other = datafusion::logical_expr::when(col("k").is_true(), plus(l(), 10_000_000)).otherwise(l()).unwrap();
    assert_eq!(kept(&[r().lt(other)]), (None, None));
}
