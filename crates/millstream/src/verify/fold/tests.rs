//! What is left of rows that replace and take back each other.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};

use super::*;

fn batch(rows: &[(&str, Option<&str>, i64)], folding: &Folding) -> RecordBatch {
    let columns: [(&str, ArrayRef); 3] = [
        (CHANGE_TYPE, Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>())),
        ("k", Arc::new(rows.iter().map(|row| row.1).collect::<StringArray>())),
        ("n", Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>())),
    ];
    let mut batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    if *folding != Folding::Changes {
        batch.remove_column(0);
    }
    batch
}

fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let mut texts: Vec<String> = batches.iter().flat_map(|batch| cells_of(batch).unwrap()).map(|cells| cells.join(" ")).collect();
    texts.sort();
    texts
}

/// The table of two batches, and what is taken back in vain.
fn folded(folding: &Folding, first: &[(&str, Option<&str>, i64)], second: &[(&str, Option<&str>, i64)]) -> (Vec<String>, Vec<String>) {
    let Folded { rows, taken_back } = fold(vec![batch(first, folding), batch(second, folding)], folding).unwrap();
    (texts(&rows), texts(&taken_back))
}

#[test]
fn changes_add_rows_and_take_out_equal_ones() {
    let first = [("insert", Some("a"), 1), ("insert", Some("a"), 1), ("insert", None, 1)];
    let second = [("update_preimage", None, 1), ("update_postimage", None, 2), ("delete", Some("a"), 1)];
    assert_eq!(folded(&Folding::Changes, &first, &second), (vec!["\"a\" 1".to_owned(), "NULL 2".to_owned()], vec![]));
}

#[test]
fn a_row_that_was_not_given_cannot_be_taken_back_though_it_comes_later() {
    let (first, second) = ([("delete", Some("a"), 1)], [("insert", Some("a"), 1)]);
    assert_eq!(folded(&Folding::Changes, &first, &second), (vec!["\"a\" 1".to_owned()], vec!["\"a\" 1".to_owned()]));
    assert_eq!(folded(&Folding::Changes, &second, &[("update_preimage", Some("NULL"), 1)]).1, ["\"NULL\" 1"]);
    let unknown = batch(&[("upsert", None, 1)], &Folding::Changes);
    assert!(fold(vec![unknown], &Folding::Changes).is_err());
}

#[test]
fn the_last_row_of_a_key_replaces_those_before() {
    let first = [("", Some("a"), 1), ("", None, 1), ("", Some("a"), 2)];
    let second = [("", None, 5), ("", Some("NULL"), 6)];
    let by_key = Folding::ByKey(vec![0]);
    assert_eq!(folded(&by_key, &first, &second).0, ["\"NULL\" 6", "\"a\" 2", "NULL 5"]);
    // Without a key there is one row.
    assert_eq!(folded(&Folding::ByKey(Vec::new()), &first, &second).0, ["\"NULL\" 6"]);
    assert_eq!(folded(&Folding::Rows, &first, &second).0.len(), 5);
    assert!(fold(Vec::new(), &by_key).unwrap().rows.is_empty());
}

#[test]
fn columns_tell_rows_apart_if_no_two_are_equal_in_them() {
    let rows = batch(&[("", Some("a"), 1), ("", Some("b"), 1), ("", None, 2)], &Folding::Rows);
    let is_apart = |columns: &[usize], batches: &[RecordBatch]| tell_apart(columns, batches).unwrap();
    assert!(is_apart(&[0], std::slice::from_ref(&rows)));
    assert!(!is_apart(&[1], std::slice::from_ref(&rows)));
    assert!(!is_apart(&[0, 1], &[rows.clone(), rows.slice(1, 1)]));
    assert!(!is_apart(&[], std::slice::from_ref(&rows)));
    assert!(is_apart(&[], &[rows.slice(0, 1)]));
}
