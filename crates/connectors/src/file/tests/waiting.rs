//! Tests of rows that wait for a file: all come back, partition by partition, whether they were spilled or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};

use super::super::partition_rows::Group;
use super::WaitingRows;

fn batch(from: i64, n_rows: i64) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("text", DataType::Utf8, true)]);
    let texts = StringArray::from_iter((from..from + n_rows).map(|id| (id % 3 != 0).then(|| format!("row {id}"))));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from_iter_values(from..from + n_rows)), Arc::new(texts)]).unwrap()
}

fn groups(rows: &RecordBatch, n_folders: i64) -> Vec<Group> {
    let ids = rows.column(0).as_primitive::<Int64Type>();
    let mut groups: Vec<Group> = Vec::new();
    for (row_idx, id) in ids.values().iter().enumerate() {
        let folder = format!("k={}/", id % n_folders);
        match groups.iter_mut().find(|group| group.folder == folder) {
            Some(group) => group.rows.push(row_idx as u32),
            None => groups.push(Group { folder, rows: vec![row_idx as u32] }),
        }
    }
    groups
}

fn check(held_bytes_max: usize, wants_spill: bool) {
    let (n_batches, n_rows, n_folders) = (20, 1000, 37);
    let mut waiting = WaitingRows::new(&batch(0, 1).schema(), held_bytes_max);
    for n in 0..n_batches {
        let rows = batch(n * n_rows, n_rows);
        let groups = groups(&rows, n_folders);
        waiting.push(&rows, groups).unwrap();
        assert!(waiting.held_bytes <= held_bytes_max);
    }
    assert_eq!(waiting.spilled.len() > 1, wants_spill);

    let mut partitions = waiting.into_partitions().unwrap();
    let mut got: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut last = String::new();
    while let Some((folder, rows)) = partitions.next().unwrap() {
        if folder != last {
            assert!(!got.contains_key(folder), "{folder} comes twice");
            last = folder.to_owned();
        }
        assert_eq!(rows.schema(), batch(0, 1).schema());
        let ids = rows.column(0).as_primitive::<Int64Type>().values();
        for (id, text) in ids.iter().zip(rows.column(1).as_string::<i32>()) {
            assert_eq!(text.map(str::to_owned), (id % 3 != 0).then(|| format!("row {id}")));
        }
        got.entry(last.clone()).or_default().extend(ids);
    }
    assert_eq!(got.len() as i64, n_folders);
    for (folder, ids) in got {
        let k: i64 = folder.trim_start_matches("k=").trim_end_matches('/').parse().unwrap();
        assert_eq!(ids, (0..n_batches * n_rows).filter(|id| id % n_folders == k).collect::<Vec<_>>(), "{folder}");
    }
}

#[test]
fn rows_in_memory_come_back_by_partition_and_in_order() {
    check(usize::MAX, false);
}

#[test]
fn rows_in_temporary_files_come_back_by_partition_and_in_order() {
    check(100_000, true);
}

#[test]
fn no_rows_are_no_partitions() {
    let waiting = WaitingRows::new(&batch(0, 1).schema(), 1);
    assert!(waiting.into_partitions().unwrap().next().unwrap().is_none());
}
