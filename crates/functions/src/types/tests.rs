//! Type names go out and come back.

use super::*;

#[test]
fn names_survive_the_way_there_and_back() {
    for name in [
        "int",
        "decimal(10,2)",
        "array<map<string,struct<a:int,`b c`:timestamp>>>",
        "struct<>",
        "interval day to second",
        "interval year to month",
        "interval",
        "timestamp_ntz",
        "void",
    ] {
        assert_eq!(type_name(&parse_type(name).unwrap()), name);
    }
}

#[test]
fn ddl_spelling_is_read() {
    assert_eq!(type_name(&parse_type("STRUCT<a: BIGINT NOT NULL, b: ARRAY<STRING>>").unwrap()), "struct<a:bigint,b:array<string>>");
    assert_eq!(parse_written("INTERVAL HOUR TO MINUTE").unwrap().range, Some((IntervalField::Hour, IntervalField::Minute)));
}

#[test]
fn bad_types_are_refused() {
    for name in ["foo", "array<int", "decimal(39,0)", "struct<a>", "int int", "map<int>", "decimal(5,6)", ""] {
        assert!(parse_type(name).is_err(), "{name}");
    }
}
