//! Known answers of Spark 4.3 (gold `arithmetic-*`).

use arrow::array::{Float64Array, Int8Array, Int32Array};

use super::*;
use crate::error::error_class;
use crate::testing::{call, decimal};

fn ints(values: Vec<Option<i32>>) -> ArrayRef {
    Arc::new(Int32Array::from(values))
}

#[test]
fn integers_are_checked_and_null_wins() {
    let a = ints(vec![Some(1), None, Some(i32::MIN)]);
    let b = ints(vec![Some(2), Some(0), Some(-1)]);
    assert_eq!(call("add", &[a.slice(0, 2), b.slice(0, 2)]).unwrap().as_ref(), &Int32Array::from(vec![Some(3), None]));
    assert_eq!(error_class(&call("add", &[a.clone(), b.clone()]).unwrap_err()), Some("ARITHMETIC_OVERFLOW"));
    assert_eq!(call("try_add", &[a.clone(), b.clone()]).unwrap().null_count(), 2);
    assert_eq!(call("remainder", &[a.slice(2, 1), b.slice(2, 1)]).unwrap().as_ref(), &Int32Array::from(vec![0]));
    assert_eq!(
        call("div", &[a.clone(), b.clone()]).unwrap().as_ref(),
        &arrow::array::Int64Array::from(vec![Some(0), None, Some(2_147_483_648)])
    );
    assert_eq!(error_class(&call("negative", &[a]).unwrap_err()), Some("ARITHMETIC_OVERFLOW"));
}

#[test]
fn small_integers_have_a_class_of_their_own() {
    let array = |value| Arc::new(Int8Array::from(vec![value])) as ArrayRef;
    assert_eq!(error_class(&call("add", &[array(127), array(1)]).unwrap_err()), Some("BINARY_ARITHMETIC_OVERFLOW"));
}

#[test]
fn division_is_by_zero_only_when_both_sides_are_there() {
    let a: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(1.0)]));
    let b: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.0), Some(4.0)]));
    assert_eq!(call("divide", &[a.clone(), b.clone()]).unwrap().as_ref(), &Float64Array::from(vec![None, Some(0.25)]));
    let zero: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), Some(-0.0)]));
    assert_eq!(error_class(&call("divide", &[a.clone(), zero.clone()]).unwrap_err()), Some("DIVIDE_BY_ZERO"));
    assert_eq!(error_class(&call("remainder", &[a.clone(), zero.clone()]).unwrap_err()), Some("REMAINDER_BY_ZERO"));
    assert_eq!(call("try_divide", &[a, zero]).unwrap().null_count(), 2);
}

#[test]
fn pmod_takes_the_sign_of_the_divisor_where_spark_does() {
    let pmod = |a, b| call("pmod", &[ints(vec![Some(a)]), ints(vec![Some(b)])]).unwrap();
    assert_eq!(pmod(-7, 3).as_ref(), &Int32Array::from(vec![2]));
    assert_eq!(pmod(7, -3).as_ref(), &Int32Array::from(vec![1]));
    assert_eq!(call("pmod", &[decimal(-75, 2, 1), decimal(3, 10, 0)]).unwrap().as_primitive::<Decimal128Type>().value(0), 15);
}

#[test]
fn decimals_have_sparks_result_types() {
    let result = call("divide", &[decimal(100, 10, 2), decimal(30_000, 5, 4)]).unwrap();
    assert_eq!(result.data_type(), &DataType::Decimal128(20, 8));
    assert_eq!(result.as_primitive::<Decimal128Type>().value(0), 33_333_333);
    let top = decimal(10i128.pow(38) - 1, 38, 0);
    let error = call("add", &[top.clone(), decimal(1, 10, 0)]).unwrap_err();
    assert_eq!(error_class(&error), Some("NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION"));
    assert_eq!(call("try_add", &[top, decimal(1, 10, 0)]).unwrap().null_count(), 1);
}
