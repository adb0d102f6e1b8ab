//! What counts as agreement.

use serde_json::json;

use super::{Outcome, difference};
use crate::gold::Expected;

fn schema(name: &str, data_type: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), data_type.to_owned())]
}

fn spark(name: &str, data_type: &str, values: &[&str]) -> Expected {
    Expected::Rows { schema: schema(name, data_type), rows: values.iter().map(|v| vec![json!(v)]).collect() }
}

fn ours(name: &str, data_type: &str, values: &[&str]) -> Outcome {
    Outcome::Rows { schema: schema(name, data_type), rows: values.iter().map(|v| vec![json!(v)]).collect() }
}

fn error(class: Option<&str>, is_unsupported: bool) -> Outcome {
    Outcome::Error { class: class.map(str::to_owned), message: "m".to_owned(), is_unsupported }
}

#[test]
fn name_type_and_value_must_all_agree() {
    let expected = spark("a", "int", &["1"]);
    assert_eq!(difference(&expected, true, &ours("a", "int", &["1"])), None);
    assert_eq!(difference(&expected, true, &ours("b", "int", &["1"])).unwrap(), "name: b instead of a");
    assert_eq!(difference(&expected, true, &ours("a", "bigint", &["1"])).unwrap(), "type: bigint instead of int");
    assert_eq!(difference(&expected, true, &ours("a", "int", &["2"])).unwrap(), "value: \"2\" instead of \"1\"");
}

#[test]
fn unordered_rows_are_a_multiset() {
    let expected = spark("a", "int", &["1", "2", "2"]);
    assert_eq!(difference(&expected, false, &ours("a", "int", &["2", "1", "2"])), None);
    assert!(difference(&expected, true, &ours("a", "int", &["2", "1", "2"])).is_some());
    assert!(difference(&expected, false, &ours("a", "int", &["2", "1", "1"])).is_some());
}

#[test]
fn an_error_agrees_by_condition_and_never_when_the_feature_is_missing() {
    let expected = Expected::Error(vec!["CAST_INVALID_INPUT".to_owned()]);
    assert_eq!(difference(&expected, true, &error(Some("CAST_INVALID_INPUT"), false)), None);
    assert_eq!(difference(&expected, true, &error(None, false)), None);
    assert!(difference(&expected, true, &error(Some("DIVIDE_BY_ZERO"), false)).is_some());
    assert!(difference(&expected, true, &error(Some("CAST_INVALID_INPUT"), true)).is_some());
    assert!(difference(&expected, true, &ours("a", "int", &["1"])).is_some());
}

#[test]
fn an_interval_without_its_fields_counts_as_the_widest() {
    let expected = spark("a", "array<interval hour>", &[]);
    assert_eq!(difference(&expected, true, &ours("a", "array<interval day to second>", &[])), None);
    assert!(difference(&expected, true, &ours("a", "array<interval year to month>", &[])).is_some());
}
