//! Known answers of Spark 4.3 (gold `collection-*`), on slices with offsets.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, ListArray};
use arrow::datatypes::{Float64Type, Int32Type};
use datafusion::common::ScalarValue as S;

use crate::error_class;
use crate::testing::{call, call_values, eval, lit, strings, texts};

fn ints(rows: Vec<Option<Vec<Option<i32>>>>) -> ArrayRef {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(rows);
    crate::cast::cast_array(
        &(Arc::new(list) as ArrayRef),
        &crate::types::array_of(arrow::datatypes::DataType::Int32),
        &crate::cast::CastOptions::new(crate::cast::CastMode::Ansi, millstream_formats::datetime::Zone::UTC),
    )
    .unwrap()
}

fn list(values: &[i32]) -> ArrayRef {
    ints(vec![Some(values.iter().copied().map(Some).collect())])
}

fn one(result: datafusion::common::Result<ArrayRef>) -> String {
    match result {
        Ok(array) => texts(&array)[0].clone().unwrap_or_else(|| "NULL".into()),
        Err(error) => format!("!{}", error_class(&error).unwrap_or("?")),
    }
}

fn int(value: i32) -> ArrayRef {
    Arc::new(Int32Array::from(vec![value]))
}

#[test]
fn items_and_positions() {
    let array = || list(&[1, 2, 3]);
    for (name, index, expected) in [
        ("get", 0, "1"),
        ("get", 5, "NULL"),
        ("get", -1, "NULL"),
        ("get_array_item", 2, "3"),
        ("get_array_item", 3, "!INVALID_ARRAY_INDEX"),
        ("get_array_item", -1, "!INVALID_ARRAY_INDEX"),
        ("element_at", -1, "3"),
        ("element_at", 4, "!INVALID_ARRAY_INDEX_IN_ELEMENT_AT"),
        ("element_at", 0, "!INVALID_INDEX_OF_ZERO"),
        ("try_element_at", 4, "NULL"),
        ("array_position", 3, "3"),
        ("array_position", 9, "0"),
        ("array_contains", 2, "true"),
        ("array_remove", 2, "[1, 3]"),
        ("array_append", 9, "[1, 2, 3, 9]"),
        ("array_prepend", 9, "[9, 1, 2, 3]"),
        ("get", i32::MIN, "NULL"),
    ] {
        assert_eq!(one(call(name, &[array(), int(index)])), expected, "{name} {index}");
    }
    let with_null = ints(vec![Some(vec![Some(1), None])]);
    assert_eq!(one(call("array_contains", &[with_null, int(3)])), "NULL");
    assert_eq!(one(call("array_insert", &[list(&[1, 3]), int(2), int(2)])), "[1, 2, 3]");
    assert_eq!(one(call("array_insert", &[list(&[1]), int(3), int(2)])), "[1, null, 2]");
    assert_eq!(one(call("array_insert", &[list(&[1]), int(-3), int(2)])), "[2, null, 1]");
    assert_eq!(one(call("array_insert", &[list(&[1, 2]), int(-1), int(3)])), "[1, 2, 3]");
}

#[test]
fn sets_and_orders() {
    assert_eq!(one(call("array_union", &[list(&[1, 2]), list(&[2, 3])])), "[1, 2, 3]");
    assert_eq!(one(call("array_intersect", &[list(&[1, 2]), list(&[2, 3])])), "[2]");
    assert_eq!(one(call("array_except", &[list(&[1, 2, 1]), list(&[2, 3])])), "[1]");
    let nulls = || ints(vec![Some(vec![Some(3), None, Some(1)])]);
    assert_eq!(one(call("sort_array", &[nulls()])), "[null, 1, 3]");
    assert_eq!(one(call("array_sort", &[nulls()])), "[1, 3, null]");
    assert_eq!(one(call("array_max", &[nulls()])), "3");
    assert_eq!(one(call("array_compact", &[nulls()])), "[3, 1]");
    assert_eq!(one(call("arrays_overlap", &[nulls(), list(&[2])])), "NULL");
    assert_eq!(one(call("equal", &[nulls(), nulls()])), "true");
    assert_eq!(one(call("less", &[list(&[1, 2]), list(&[1, 3])])), "true");
    let floats: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(0.0), Some(-0.0), Some(f64::NAN), Some(-f64::NAN)])]));
    assert_eq!(one(call("size", &[call("array_distinct", &[floats]).unwrap()])), "2");
}

#[test]
fn slices_keep_their_offsets() {
    let array = ints(vec![Some(vec![Some(9)]), Some(vec![Some(1), Some(2)]), None, Some(vec![])]);
    let slice = array.slice(1, 3);
    let text = |name: &str| texts(&call(name, std::slice::from_ref(&slice)).unwrap());
    assert_eq!(text("reverse"), vec![Some("[2, 1]".into()), None, Some("[]".into())]);
    assert_eq!(text("size"), vec![Some("2".into()), None, Some("0".into())]);
    assert_eq!(text("array_distinct"), vec![Some("[1, 2]".into()), None, Some("[]".into())]);
    let (start, length) = (Arc::new(Int32Array::from(vec![-2, 1, 1])) as ArrayRef, Arc::new(Int32Array::from(vec![1; 3])) as ArrayRef);
    assert_eq!(texts(&call("slice", &[slice, start, length]).unwrap()), vec![Some("[1]".into()), None, Some("[]".into())]);
}

#[test]
fn maps_refuse_null_and_duplicate_keys() {
    let map = || call("map", &[strings(&[Some("a")]), int(1), strings(&[Some("b")]), int(2)]).unwrap();
    assert_eq!(one(Ok(map())), "{a -> 1, b -> 2}");
    assert_eq!(one(call("map", &[strings(&[Some("a")]), int(1), strings(&[Some("a")]), int(2)])), "!DUPLICATED_MAP_KEY");
    assert_eq!(one(call("map", &[strings(&[None]), int(1)])), "!NULL_MAP_KEY");
    assert_eq!(one(call("map_concat", &[map(), map()])), "!DUPLICATED_MAP_KEY");
    assert_eq!(one(call("element_at", &[map(), strings(&[Some("b")])])), "2");
    assert_eq!(one(call("get_map_value", &[map(), strings(&[Some("z")])])), "NULL");
    assert_eq!(one(call("map_keys", &[map()])), "[a, b]");
    assert_eq!(one(call("map_entries", &[map()])), "[{a, 1}, {b, 2}]");
    assert_eq!(one(call("map_contains_key", &[map(), strings(&[Some("a")])])), "true");
    assert_eq!(one(call("map_from_entries", &[call("map_entries", &[map()]).unwrap()])), "{a -> 1, b -> 2}");
    assert_eq!(one(call("map_from_arrays", &[list(&[1, 2]), list(&[3, 4])])), "{1 -> 3, 2 -> 4}");
    assert_eq!(one(call_values("map", vec![], 1)), "{}");
}

#[test]
fn building_and_joining() {
    assert_eq!(one(call_values("array", vec![], 1)), "[]");
    assert_eq!(one(call("array", &[int(1), int(2)])), "[1, 2]");
    assert_eq!(one(call_values("named_struct", vec![lit("x"), lit(1), lit("y"), lit("a")], 1)), "{1, a}");
    assert_eq!(one(call_values("struct", vec![], 1)), "{}");
    assert_eq!(one(call("concat", &[list(&[1]), list(&[2])])), "[1, 2]");
    assert_eq!(one(call("concat", &[strings(&[Some("a")]), strings(&[None])])), "NULL");
    assert_eq!(one(call("flatten", &[call("array", &[list(&[1]), list(&[2, 3])]).unwrap()])), "[1, 2, 3]");
    assert_eq!(one(call("arrays_zip", &[list(&[1, 2]), list(&[3])])), "[{1, 3}, {2, null}]");
    assert_eq!(one(call("array_repeat", &[strings(&[Some("a")]), int(3)])), "[a, a, a]");
    let joined = call(
        "array_join",
        &[call("array", &[strings(&[Some("a")]), strings(&[None])]).unwrap(), strings(&[Some(",")]), strings(&[Some("?")])],
    );
    assert_eq!(one(joined), "a,?");
    assert_eq!(one(call("greatest", &[int(1), int(3), int(2)])), "3");
    assert_eq!(eval("greatest", vec![S::Int32(None), S::from(1), S::from(2)]), "2");
}

#[test]
fn sequences() {
    let utc = || S::from("UTC");
    assert_eq!(eval("sequence", vec![S::from(5), S::from(1), utc()]), "[5, 4, 3, 2, 1]");
    assert_eq!(eval("sequence", vec![S::from(1), S::from(10), S::from(3), utc()]), "[1, 4, 7, 10]");
    assert_eq!(eval("sequence", vec![S::from(1), S::from(5), S::from(-1), utc()]), "!IllegalArgumentException");
    assert_eq!(eval("sequence", vec![S::from(i64::MIN), S::from(i64::MAX), utc()]), "!COLLECTION_SIZE_LIMIT_EXCEEDED.PARAMETER");
    let months = S::IntervalYearMonth(Some(1));
    let result = eval("sequence", vec![S::Date32(Some(18_292)), S::Date32(Some(18_382)), months, utc()]);
    assert_eq!(result, "[2020-01-31, 2020-02-29, 2020-03-31, 2020-04-30]");
}

#[test]
fn like_with_an_escape() {
    assert_eq!(eval("like", vec![S::from("a%c"), S::from("a\\%c")]), "true");
    assert_eq!(eval("like", vec![S::from("a_c"), S::from("a#_c"), S::from("#")]), "true");
    assert_eq!(eval("like", vec![S::from("a\nb"), S::from("a%b")]), "true");
    assert_eq!(eval("like", vec![S::from("a"), S::from("a\\")]), "!INVALID_FORMAT.ESC_AT_THE_END");
    assert_eq!(eval("ilike", vec![S::from("ABC"), S::from("a%")]), "true");
}
