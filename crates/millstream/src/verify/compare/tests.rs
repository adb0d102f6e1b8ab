//! What counts as the same rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};

use super::*;

fn table(rows: &[(&str, Option<i64>, f64)]) -> RecordBatch {
    let columns: [(&str, ArrayRef); 3] = [
        ("k", Arc::new(rows.iter().map(|row| Some(row.0).filter(|text| *text != "null")).collect::<StringArray>())),
        ("n", Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>())),
        ("x", Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn table_of(stream: &RecordBatch) -> Folded {
    Folded { rows: vec![stream.clone()], taken_back: Vec::new() }
}

fn differ(stream: &[(&str, Option<i64>, f64)], batch: &[(&str, Option<i64>, f64)]) -> Option<(usize, usize)> {
    let (stream, batch) = (table(stream), table(batch));
    let difference = compare_rows(&stream.schema(), &table_of(&stream), &[batch]).unwrap();
    difference.map(|difference| (difference.n_only_in_stream, difference.n_only_in_batch))
}

#[test]
fn the_same_rows_in_another_order_are_equal_and_each_counts() {
    let (a, b) = (("a", Some(1), 0.5), ("b", None, 1.5));
    assert_eq!(differ(&[a, b, a], &[b, a, a]), None);
    assert_eq!(differ(&[a, a], &[a]), Some((1, 0)));
    assert_eq!(differ(&[a], &[b]), Some((1, 1)));
    assert_eq!(differ(&[], &[a, a, b]), Some((0, 3)));
}

#[test]
fn doubles_are_equal_within_their_last_digits_and_nothing_else_is() {
    assert_eq!(differ(&[("a", Some(1), 0.1 + 0.2)], &[("a", Some(1), 0.3)]), None);
    assert_eq!(differ(&[("a", Some(1), f64::NAN)], &[("a", Some(1), f64::NAN)]), None);
    assert_eq!(differ(&[("a", Some(1), 1e9)], &[("a", Some(1), 1e9 + 2.0)]), Some((1, 1)));
    assert_eq!(differ(&[("a", Some(1_000_000_000_000), 0.0)], &[("a", Some(1_000_000_000_001), 0.0)]), Some((1, 1)));
    assert_eq!(differ(&[("null", None, 0.0)], &[("NULL", None, 0.0)]), Some((1, 1)));
}

#[test]
fn rows_that_were_taken_back_in_vain_are_a_difference() {
    let table = table(&[("a", Some(1), 0.5)]);
    let stream = Folded { taken_back: vec![table.clone()], ..table_of(&table) };
    let difference = compare_rows(&table.schema(), &stream, &[table]).unwrap().unwrap();
    assert_eq!((difference.n_only_in_stream, difference.n_only_in_batch, difference.n_taken_back), (0, 0, 1));
    assert_eq!(difference.taken_back, [["\"a\"", "1", "0.5"]]);
}

#[test]
fn a_difference_shows_its_first_rows() {
    let (stream, batch) = (table(&[("a", Some(1), 0.5)]), table(&[("a", None, 0.5)]));
    let difference = compare_rows(&stream.schema(), &table_of(&stream), &[batch]).unwrap().unwrap();
    assert_eq!(difference.columns, ["k", "n", "x"]);
    assert_eq!(difference.only_in_stream, [["\"a\"", "1", "0.5"]]);
    assert_eq!(difference.only_in_batch, [["\"a\"", "NULL", "0.5"]]);
}
