//! What a table takes of memory, by its own account, and that the account is true.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use millstream_state::store::{KeyedTable, StateMemory, StoreSchema};

use super::table::{dedup_schema, sixteen_bytes};

const N: u64 = 1_000_000;

#[test]
fn a_sixteen_byte_key_costs_few_bytes_more() {
    let mut table = KeyedTable::new(dedup_schema()).unwrap();
    let mut worst = 0.0_f64;
    for from in (0..N).step_by(10_000) {
        table.insert_new(&[sixteen_bytes(from..from + 10_000)], None, &[]).unwrap();
        table.take_delta().unwrap();
        if from >= 100_000 {
            worst = worst.max(table.memory_bytes() as f64 / table.n_rows() as f64 - 16.0);
        }
    }
    let per_key = table.memory_bytes() as f64 / N as f64 - 16.0;
    assert!(worst < 33.0 && per_key < 31.0, "{worst} at worst, {per_key} at {N} keys");
}

#[test]
fn an_expiry_costs_few_bytes_more() {
    let mut table = KeyedTable::new(dedup_schema()).unwrap();
    let mut worst = 0.0_f64;
    for from in (0..N).step_by(10_000) {
        let expiry: Int64Array = (from as i64..from as i64 + 10_000).map(|n| Some(1_700_000_000_000 + n * 3)).collect();
        table.insert_new(&[sixteen_bytes(from..from + 10_000)], Some(&expiry), &[]).unwrap();
        table.take_delta().unwrap();
        if from >= 100_000 {
            worst = worst.max(table.memory_bytes() as f64 / table.n_rows() as f64 - 16.0);
        }
    }
    assert!(worst < 50.0, "{worst}");
    // And all of it goes with the rows, but for the slots' places.
    assert_eq!(table.discard_expired(i64::MAX).unwrap() as u64, N);
    assert!(table.memory_bytes() < 16 * N as usize, "{}", table.memory_bytes());
}

#[test]
fn a_million_calls_of_one_row_stay_within_bounds() {
    let schema = StoreSchema::new(
        vec![Field::new("id", DataType::FixedSizeBinary(16), false)],
        vec![Field::new("n", DataType::Int64, true), Field::new("t", DataType::Utf8, true)],
    );
    let mut table = KeyedTable::new(schema.unwrap()).unwrap();
    let text: ArrayRef = Arc::new(StringArray::from(vec!["twelve bytes"]));
    let n_calls = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let mut peak = 0;
    for n in 0..n_calls {
        let values: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![n as i64])), Arc::clone(&text)];
        table.upsert(&[sixteen_bytes([n % 5_000])], None, &values).unwrap();
        if n % 1_000 == 0 {
            table.take_delta().unwrap();
        }
        peak = peak.max(table.memory_bytes());
    }
    assert_eq!(table.n_rows(), 5_000);
    // 16 + 8 + 12 bytes each, twice for dead rows, and the index.
    assert!(peak < 5_000 * 200 + 100_000, "{peak}");
}

#[test]
fn rows_go_to_disk_for_what_is_kept_beside_a_table() {
    let memory = StateMemory::limited(8_000_000, &std::env::temp_dir());
    let mut table = KeyedTable::within(dedup_schema(), &memory).unwrap();
    let add = |table: &mut KeyedTable, from: u64| {
        table.insert_new(&[sixteen_bytes(from..from + 50_000)], None, &[]).unwrap();
        table.take_delta().unwrap();
    };
    add(&mut table, 0);
    assert_eq!(table.spilled().unwrap().rows, 0);
    let own_bytes = table.memory_bytes();
    table.count_beside(7_000_000);
    assert_eq!(table.memory_bytes(), own_bytes + 7_000_000);
    add(&mut table, 50_000);
    assert!(table.spilled().unwrap().rows > 0);
    assert!(memory.used_bytes() > 7_000_000, "{}", memory.used_bytes());
}

#[test]
fn a_slice_does_not_keep_its_batch_alive() {
    let mut table = KeyedTable::new(dedup_schema()).unwrap();
    let large = sixteen_bytes(0..100_000);
    let schema =
        StoreSchema::new(vec![Field::new("id", DataType::FixedSizeBinary(16), false)], vec![Field::new("n", DataType::Int64, true)]);
    let mut with_values = KeyedTable::new(schema.unwrap()).unwrap();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
    for at in (0..100_000).step_by(10_000) {
        table.upsert(&[large.slice(at, 10)], None, &[]).unwrap();
        with_values.upsert(&[large.slice(at, 10)], None, &[numbers.slice(at, 10)]).unwrap();
    }
    assert_eq!(Arc::strong_count(&numbers), 1);
    assert!(with_values.memory_bytes() < 30_000, "{}", with_values.memory_bytes());
}
