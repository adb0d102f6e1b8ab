//! Tests of the representation's helpers.

use super::{DataType, Expr, StructField};
use crate::{Span, SqlError, error::nearest};

#[test]
fn written_names_are_parted_at_points_outside_backticks() {
    let parts = |name: &str| match Expr::col(name) {
        Expr::UnresolvedAttribute { parts, .. } => parts,
        other => panic!("{other:?}"),
    };
    assert_eq!(parts("a.b"), ["a", "b"]);
    assert_eq!(parts("a.`b.c`"), ["a", "b.c"]);
    assert_eq!(parts("`a``b`"), ["a`b"]);
    assert_eq!(parts("`a"), ["`a"]);
    assert!(matches!(Expr::col("t.*"), Expr::UnresolvedStar { target: Some(t), .. } if t == ["t"]));
}

#[test]
fn types_print_as_spark_prints_them() {
    let inner = DataType::Struct(vec![
        StructField { nullable: false, comment: Some("it's".into()), ..StructField::new("a b", DataType::Int) },
        StructField::new("c", DataType::array(DataType::map(DataType::String, DataType::Double))),
    ]);
    assert_eq!(inner.simple_string(), "struct<a b:int,c:array<map<string,double>>>");
    assert_eq!(inner.sql(), "STRUCT<`a b`: INT NOT NULL COMMENT 'it\\'s', c: ARRAY<MAP<STRING, DOUBLE>>>");
    assert_eq!(inner.to_ddl(), "`a b` INT NOT NULL COMMENT 'it\\'s',c ARRAY<MAP<STRING, DOUBLE>>");
    assert_eq!(DataType::DAY_TIME.sql(), "INTERVAL DAY TO SECOND");
    assert_eq!(DataType::Decimal { precision: 10, scale: 2 }.simple_string(), "decimal(10,2)");
}

#[test]
fn an_error_shows_its_line_with_a_caret() {
    let text = "SELECT 1\nFORM t";
    let error =
        SqlError::syntax("unexpected 'FORM'", Span { line: 2, column: 1, offset: 9, len: 4 }).with_nearest("FORM", ["FROM", "WHERE"]);
    assert_eq!(error.render(text), "unexpected 'FORM' at line 2, column 1; did you mean 'FROM'?\n   |\n 2 | FORM t\n   | ^^^^");
    assert_eq!(nearest("x", ["y"]), None);
}

#[test]
fn spans_take_no_part_in_comparisons() {
    let at = |line| Expr::Literal { value: 1.into(), span: Span { line, column: 1, offset: 0, len: 1 } };
    assert_eq!(at(1), at(2));
}
