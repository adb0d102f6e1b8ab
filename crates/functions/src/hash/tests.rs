//! Known answers of Spark 4.3 (gold `misc-018` to `misc-045`).

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray};
use arrow::datatypes::Int32Type;
use datafusion::common::ScalarValue as S;

use crate::testing::{call, call_values, eval, strings, texts};

#[test]
fn values_hash_as_in_spark() {
    for (args, murmur, xx) in [
        (vec![S::from(1)], "-559580957", "-6698625589789238999"),
        (vec![S::Int32(None)], "42", "42"),
        (vec![S::from("a")], "1485273170", "-8582455328737087284"),
        (vec![S::from(1i64)], "-1712319331", "-7001672635703045582"),
        (vec![S::from(1.5)], "1290763749", "7738255526519901366"),
    ] {
        assert_eq!(eval("hash", args.clone()), murmur, "{args:?}");
        assert_eq!(eval("xxhash64", args.clone()), xx, "{args:?}");
    }
    for (args, murmur) in [
        (vec![S::from("abcde")], "814637928"),
        (vec![S::from(1.5f32)], "-221251528"),
        (vec![S::from(true)], "-559580957"),
        (vec![S::Decimal128(Some(15), 2, 1)], "-18083236"),
        (vec![S::Decimal128(Some(100), 38, 2)], "-295670906"),
        (vec![S::Date32(Some(18_262))], "-725858435"),
        (vec![S::Binary(Some(vec![1, 2]))], "1964783052"),
        (vec![S::from(-0.0)], "-1670924195"),
        (vec![S::from(1), S::from("a"), S::Null, S::from(2.5)], "389417474"),
    ] {
        assert_eq!(eval("hash", args.clone()), murmur, "{args:?}");
    }
    assert_eq!(eval("xxhash64", vec![S::from("the quick brown fox jumps over the lazy dog")]), "-2856755173023931444");
}

#[test]
fn arrays_hash_element_by_element() {
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(123)])]));
    let two: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![2]));
    let args = [strings(&[Some("Spark")]), list, two];
    assert_eq!(texts(&call("hash", &args).unwrap())[0].as_deref(), Some("-1321691492"));
    assert_eq!(texts(&call("xxhash64", &args).unwrap())[0].as_deref(), Some("5602566077635097486"));
    assert!(call_values("hash", vec![], 1).is_ok());
}
