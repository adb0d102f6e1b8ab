//! Numbers of keys against a map, and what tables do with keys that have been numbered.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type};
use millstream_state::store::{KeyNumbers, KeyedTable, StateMemory, StoreRows, StoreSchema};
use millstream_testkit::Rng;

use super::model::{Key, Replay, random_keys, schema};

/// As a test compares them: the zero without its sign is not told from the other by `{}`.
fn shown(columns: &[ArrayRef]) -> Vec<Key> {
    let (floats, texts) = (columns[0].as_primitive::<Float64Type>(), columns[1].as_string::<i32>());
    let float = |at: usize| floats.is_valid(at).then(|| format!("{}", floats.value(at)));
    (0..floats.len()).map(|at| (float(at), texts.is_valid(at).then(|| texts.value(at).to_owned()))).collect()
}

#[test]
fn keys_are_numbered_as_they_come_up() {
    for seed in 0..300 {
        let replay = Replay(seed);
        let mut rng = Rng::new(seed);
        let mut all = KeyNumbers::new(schema().keys()).unwrap();
        let (mut model, mut order, mut numbers) = (BTreeMap::<Key, usize>::new(), Vec::new(), vec![7]);
        for _ in 0..rng.below(12) {
            let n = rng.index(300);
            let (keys, columns) = random_keys(&mut rng, n);
            all.number(&columns, &mut numbers).unwrap();
            let expected = keys.into_iter().map(|key| {
                let next = model.len();
                *model.entry(key.clone()).or_insert_with(|| {
                    order.push(key);
                    next
                })
            });
            assert_eq!(numbers, expected.collect::<Vec<_>>());
            assert_eq!(all.n_keys(), model.len());
        }
        let (_, columns) = all.take().unwrap();
        assert_eq!(shown(&columns), order);
        assert_eq!(all.n_keys(), 0);
        std::mem::forget(replay);
    }
}

/// As an aggregation does it, batch after batch: keys are numbered, those that are new in the batch are looked for, and all are put in.
fn sums_by_key(memory: &StateMemory) {
    let key_fields = Fields::from(vec![Field::new("k", DataType::Int64, false)]);
    let schema = StoreSchema::new(key_fields.clone(), vec![Field::new("n", DataType::Int64, false)]).unwrap();
    let mut table = KeyedTable::within(schema, memory).unwrap();
    let (mut rng, mut model) = (Rng::new(5), BTreeMap::<i64, i64>::new());
    for _ in 0..40 {
        let (mut keys, mut numbers, mut sums, mut slots) = (KeyNumbers::new(&key_fields).unwrap(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..3 {
            let rows: Vec<i64> = (0..500).map(|_| rng.below(5_000) as i64).collect();
            let n_before = keys.n_keys();
            keys.number(&[Arc::new(Int64Array::from(rows.clone()))], &mut numbers).unwrap();
            slots.extend(table.lookup_hashed(&keys.keys_from(n_before).unwrap()).unwrap());
            for slot in &slots[n_before..] {
                let known = slot.map(|slot| table.gather(&[slot]).unwrap());
                sums.push(known.map_or(0, |known| known[0].as_primitive::<Int64Type>().value(0)));
            }
            for (row, number) in rows.into_iter().zip(&numbers) {
                *model.entry(row).or_default() += row;
                sums[*number] += row;
            }
        }
        assert_eq!(slots.len(), keys.n_keys());
        let (hashed, columns) = keys.take().unwrap();
        let rows = StoreRows { n_rows: sums.len(), keys: columns, expiry: None, values: vec![Arc::new(Int64Array::from(sums))] };
        table.upsert_known(&hashed, &slots, &rows).unwrap();
        assert_eq!(table.take_delta().unwrap().unwrap().upserted, rows);
    }
    let mut sums = BTreeMap::new();
    for rows in table.scan() {
        let rows = rows.unwrap();
        let (keys, values) = (rows.keys[0].as_primitive::<Int64Type>(), rows.values[0].as_primitive::<Int64Type>());
        sums.extend(keys.values().iter().copied().zip(values.values().iter().copied()));
    }
    assert_eq!(sums, model);
}

#[test]
fn numbered_keys_are_found_and_put_in() {
    sums_by_key(&StateMemory::unlimited());
    let dir = tempfile::tempdir().unwrap();
    sums_by_key(&StateMemory::limited(40_000, dir.path()));
}
