//! Known answers of Spark 4.3 (gold `json-*`).

use datafusion::common::ScalarValue as S;

use crate::testing::eval;

fn path(json: &str, path: &str) -> String {
    eval("get_json_object", vec![S::from(json), S::from(path)])
}

#[test]
fn paths_follow_hive() {
    let nested = r#"{"a":{"b":[1,2,{"c":"x"}]}}"#;
    for (json, p, expected) in [
        (nested, "$.a.b[0]", "1"),
        (nested, "$.a.b[2].c", "x"),
        (nested, "$.a.b", r#"[1,2,{"c":"x"}]"#),
        (nested, "$.z", "NULL"),
        (r#"{"a":[{"b":1},{"b":2}]}"#, "$.a[*].b", "[1,2]"),
        (r#"{"a":[{"b":1}]}"#, "$.a[*].b", "1"),
        (r#"[{"b":1},{"b":"y"}]"#, "$[*].b", r#"[1,"y"]"#),
        (r#"[[1,2],[3]]"#, "$[*][*]", "[1,2,3]"),
        ("[1,2]", "$[1]", "2"),
        (r#"{"a b":1}"#, "$['a b']", "1"),
        (r#"{"a":null}"#, "$.a", "NULL"),
        (r#"{"a":1.50}"#, "$.a", "1.5"),
        (r#"{"a":"x\ny"}"#, "$.a", "x\ny"),
        (r#"{"a": { "b" : 1 } }"#, "$.a", r#"{"b":1}"#),
        ("bad", "$.a", "NULL"),
        (r#"{"a":1}"#, "a", "NULL"),
        (r#"{"a":1}"#, "$..a", "NULL"),
        (r#"{"a":{"b":1,"c":2}}"#, "$.*", "NULL"),
        (r#"{"a":1,"a":2}"#, "$.a", "1"),
        (r#"{"a":1,"b":"#, "$.a", "NULL"),
        (r#"{"a":"é\u00e9😀"}"#, "$", r#"{"a":"éé😀"}"#),
    ] {
        assert_eq!(path(json, p), expected, "{json} {p}");
    }
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(path(&deep, "$[0]"), "NULL");
}

#[test]
fn lengths_keys_and_schemas() {
    let one = |name: &str, json: &str| eval(name, vec![S::from(json)]);
    assert_eq!(one("json_array_length", "[1,[2],3]"), "3");
    assert_eq!(one("json_array_length", r#"{"a":1}"#), "NULL");
    assert_eq!(one("json_array_length", "[1"), "NULL");
    assert_eq!(one("json_object_keys", r#"{"a":1,"b":{"c":2}}"#), "[a, b]");
    assert_eq!(one("json_object_keys", "[1]"), "NULL");
    let one = |name: &str, json: &str| eval(name, vec![S::from(json), S::from("UTC")]);
    assert_eq!(one("schema_of_csv", "1,abc"), "STRUCT<_c0: INT, _c1: STRING>");
    assert_eq!(one("schema_of_json", r#"{"a":1,"b":"x"}"#), "STRUCT<a: BIGINT, b: STRING>");
    assert_eq!(one("schema_of_json", r#"[{"a":1.5},{"b":true}]"#), "ARRAY<STRUCT<a: DOUBLE, b: BOOLEAN>>");
    assert_eq!(one("schema_of_json", r#"{"a":[1,"x"],"d":"2020-01-01"}"#), "STRUCT<a: ARRAY<STRING>, d: STRING>");
    let tuple = eval("json_tuple", vec![S::from(r#"{"a":1,"b":"x"}"#), S::from("a"), S::from("b"), S::from("c")]);
    assert_eq!(tuple, "{1, x, null}");
}

#[test]
fn decoding_takes_ddl_and_type_text() {
    let from = |json: &str, schema: &str| eval("from_json", vec![S::from(json), S::from(schema), S::from("UTC")]);
    assert_eq!(from(r#"{"a":1,"b":"x"}"#, "a INT, b STRING"), "{1, x}");
    assert_eq!(from(r#"{"a":1}"#, "STRUCT<a:INT, b:STRING>"), "{1, null}");
    assert_eq!(from("[1,2,3]", "ARRAY<INT>"), "[1, 2, 3]");
    assert_eq!(from("", "a INT"), "NULL");
    assert_eq!(from("bad", "a INT"), "{null}");
    assert_eq!(from(r#"{"a":1}"#, "a FOO"), "!PARSE_SYNTAX_ERROR");
    assert_eq!(eval("from_csv", vec![S::from("1,x"), S::from("a INT, b STRING"), S::from("UTC")]), "{1, x}");
}
